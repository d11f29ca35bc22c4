import { spawn } from "node:child_process";
import { join } from "node:path";
import { rootDir } from "@manyhands/local";

const demoSeconds = 100;
const killAfterMs = 110_000;

/** What a run of the demo left. */
export interface DemoRun {
  readonly code: number | null;
  readonly output: string;
  readonly sessionId: string;
}

/** Where the demo goes. */
export interface DemoAddress {
  readonly url: string;
  readonly apiKey: string;
  /** Address at which vault-proxy reaches this machine. */
  readonly gitHost: string;
}

/** What to do in the middle of the job. */
export interface Disturbance {
  /** When so many tool calls have been printed: 1 is the clone, 2 the first run of the tests. */
  readonly atToolCall: number;
  readonly act: (sessionId: string) => Promise<void>;
}

/** `npm run demo -- --url …` as a process of its own, disturbed once if asked. */
export async function runDemoAgainst(
  { url, apiKey, gitHost }: DemoAddress,
  disturbance?: Disturbance,
): Promise<DemoRun> {
  const cli = join(rootDir, "packages", "local", "src", "cli.ts");
  const options = ["--url", url, "--api-key", apiKey, "--git-host", gitHost, "--timeout", String(demoSeconds)];
  const child = spawn(process.execPath, ["--conditions=source", cli, "demo", ...options], {
    cwd: rootDir,
    stdio: ["ignore", "pipe", "pipe"],
    timeout: killAfterMs,
  });
  let output = "";
  let disturbed: Promise<void> | undefined;
  const read = (chunk: Buffer) => {
    output += chunk.toString();
    if (disturbance === undefined || disturbed !== undefined) return;
    const toolCalls = output.match(/^ {2}→ /gm)?.length ?? 0;
    if (toolCalls >= disturbance.atToolCall) disturbed = disturbance.act(sessionIn(output));
  };
  child.stdout.on("data", read);
  child.stderr.on("data", read);
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
  await disturbed;
  return { code, output, sessionId: sessionIn(output) };
}

function sessionIn(output: string): string {
  return /^Session (sesn_[\w-]+)\./m.exec(output)?.[1] ?? "";
}
