import { spawn } from "node:child_process";
import path from "node:path";
import { root } from "../tidy/sources.ts";

/** How a child process ended. */
export interface Ended {
  code: number | null;
  stdout: string;
  stderr: string;
}

const maxOutputBytes = 4 * 1024 * 1024;

/** Runs a command to its end, bounded in time and output; never throws for its exit code. */
export function runProcess(
  command: string,
  args: readonly string[],
  options: { timeoutMs: number; env?: NodeJS.ProcessEnv; cwd?: string; onOutput?: (stdout: string) => void },
): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: options.cwd ?? root,
      env: { ...process.env, ...options.env },
      stdio: ["ignore", "pipe", "pipe"],
      timeout: options.timeoutMs,
      killSignal: "SIGKILL",
    });
    const text = { stdout: "", stderr: "" };
    for (const name of ["stdout", "stderr"] as const) {
      child[name].on("data", (chunk: Buffer) => {
        if (text[name].length < maxOutputBytes) text[name] += chunk.toString("utf8");
        if (name === "stdout") options.onOutput?.(text.stdout);
      });
    }
    child.once("error", reject);
    child.once("close", (code) => resolve({ code, ...text }));
  });
}

/** One of the commands behind the npm scripts, run by the Node that runs the tests. */
export function runCommand(args: readonly string[], timeoutMs: number): Promise<Ended> {
  const cli = path.join(root, "packages/local/src/cli.ts");
  return runProcess(process.execPath, ["--conditions=source", cli, ...args], { timeoutMs });
}

/** `buf curl` over cleartext HTTP/2 against one address; `onOutput` sees what it has printed so far. */
export function bufCurl(
  address: string,
  args: readonly string[],
  data?: object,
  onOutput?: (stdout: string) => void,
): Promise<Ended> {
  const common = ["curl", "--http2-prior-knowledge", "--protocol", "grpc"];
  const body = data === undefined ? [] : ["--data", JSON.stringify(data)];
  const [target = "", ...flags] = args;
  const url = target === "" ? `http://${address}` : `http://${address}/${target}`;
  const buf = path.join(root, "node_modules/.bin/buf");
  return runProcess(buf, [...common, ...flags, ...body, url], {
    timeoutMs: 20_000,
    ...(onOutput === undefined ? {} : { onOutput }),
  });
}
