import { spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync, readFileSync, writeSync } from "node:fs";
import { dirname } from "node:path";

const TAIL_LINES = 15;

/** A set-up step that failed: one message, what to do, and the end of the tool's own output. */
export class SetupFailure extends Error {
  constructor(step, advice, logFile) {
    super(step);
    this.advice = advice;
    this.logFile = logFile;
  }
}

/** Runs a tool with all its output in `logFile`; fails with a SetupFailure, also when `timeoutMs` is over. */
export function runTool({ step, advice, command, args, cwd, env, logFile, timeoutMs }) {
  mkdirSync(dirname(logFile), { recursive: true });
  const log = openSync(logFile, "a");
  writeSync(log, `\n$ ${command} ${args.join(" ")}\n`);
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, env, stdio: ["ignore", log, log], timeout: timeoutMs });
    child.once("error", (error) => {
      closeSync(log);
      reject(new SetupFailure(`${step}: ${command} could not be started (${error.message})`, advice, logFile));
    });
    child.once("close", (code, signal) => {
      closeSync(log);
      if (code === 0) resolve();
      else
        reject(new SetupFailure(`${step} failed (${signal === null ? `exit code ${code}` : signal})`, advice, logFile));
    });
  });
}

/** The last lines of a log, for a message. */
export function tailOf(logFile) {
  try {
    return readFileSync(logFile, "utf8").trimEnd().split("\n").slice(-TAIL_LINES).join("\n");
  } catch {
    return "";
  }
}
