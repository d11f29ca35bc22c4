import { type SpawnOptions, spawn } from "node:child_process";

const TAIL_BYTES = 16 * 1024;

/** How a command ended; `code` is null when a signal or the time limit ended it. */
export interface CommandResult {
  readonly code: number | null;
  /** The end of standard output and standard error together, at most 16 KiB. */
  readonly output: string;
}

/** A command to run to its end. */
export interface Command {
  readonly command: string;
  readonly args: readonly string[];
  readonly timeoutMs: number;
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
}

/** Runs a command to its end or its time limit. Never throws: a command that is not there answers code 127. */
export function runCommand({ command, args, timeoutMs, cwd, env }: Command): Promise<CommandResult> {
  const options: SpawnOptions = { cwd, env: env ?? process.env, stdio: ["ignore", "pipe", "pipe"], timeout: timeoutMs };
  return new Promise((resolve) => {
    const child = spawn(command, [...args], options);
    let output = "";
    const keep = (text: string) => {
      output = (output + text).slice(-TAIL_BYTES);
    };
    child.stdout?.setEncoding("utf8").on("data", keep);
    child.stderr?.setEncoding("utf8").on("data", keep);
    child.once("error", (error) => resolve({ code: 127, output: error.message }));
    child.once("close", (code) => resolve({ code, output }));
  });
}

/** The last lines of a text, for messages. */
export function lastLines(text: string, count: number): string {
  return text.trimEnd().split("\n").slice(-count).join("\n");
}
