import { parseArgs } from "node:util";
import { z } from "zod";
import { loadSuite } from "../load-suite.ts";
import { ensureNatsServer } from "../nats-server.ts";
import { stderrProgress } from "../progress.ts";
import { SetupError } from "../setup-error.ts";
import { onStopSignal } from "../stop-signal.ts";

const report = z.looseObject({ ok: z.boolean(), problems: z.array(z.string()) });

/** `npm run storm`: kills processes under load. Exit code 1 when something is violated. */
export async function storm(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      kills: { type: "string", default: "100" },
      sessions: { type: "string", default: "20" },
      seed: { type: "string", default: "1" },
      hands: { type: "string", default: "auto" },
      json: { type: "boolean", default: false },
    },
  });
  if (values.hands !== "auto" && values.hands !== "virtual") {
    throw new SetupError("--hands must be auto or virtual", { advice: "Correct it." });
  }
  const options = {
    kills: wholeNumber("--kills", values.kills, 0),
    sessions: wholeNumber("--sessions", values.sessions, 1),
    seed: wholeNumber("--seed", values.seed, 0),
    driver: values.hands,
  };
  const stopped = new AbortController();
  onStopSignal((signal) => {
    stderrProgress(`${signal}: cleaning up`);
    stopped.abort(new SetupError(`stopped by ${signal}`, { advice: "Nothing is left behind." }));
  });
  process.env.NATS_SERVER_BIN = (await ensureNatsServer(stderrProgress)).path;
  const run = await loadSuite("storm/storm.ts", "runStorm");
  const result = report.parse(await run({ ...options, signal: stopped.signal, progress: stderrProgress }));
  process.stdout.write(values.json ? `${JSON.stringify(result)}\n` : table(result));
  return result.ok ? 0 : 1;
}

function table(result: z.infer<typeof report>): string {
  const rows = Object.entries(result).filter(([name]) => name !== "problems");
  const width = Math.max(...rows.map(([name]) => name.length));
  const text = (value: unknown) => (typeof value === "object" ? JSON.stringify(value) : String(value));
  const lines = rows.map(([name, value]) => `${name.padEnd(width)}  ${text(value)}`);
  return `${[...lines, ...result.problems].join("\n")}\n`;
}

function wholeNumber(option: string, text: string, min: number): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= min) return value;
  throw new SetupError(`${option} must be a whole number from ${min}`, { advice: "Correct it." });
}
