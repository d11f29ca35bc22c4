import { toAppError } from "@manyhands/kit";
import { Bash, type ExecOptions } from "just-bash";
import type { Hand, OperationSpec } from "../driver.ts";
import { handLost, neverSent } from "../hand-lost.ts";
import { guardPlacedFiles, READ_ONLY } from "./placed-files.ts";
import { fileAction } from "./virtual-files.ts";
import { createLedger, type Ending, partsOf } from "./virtual-operations.ts";

const WORKSPACE = "/workspace";
const KILLED_EXIT_CODE = 137;
const MAX_OUTPUT_BYTES = 8 * 1024 * 1024;
const MAX_WALL_MS = 60 * 60 * 1000;

/** What a virtual hand is made of. */
export type VirtualHandOptions = {
  readonly handId: string;
  readonly env: Readonly<Record<string, string>>;
  readonly workspaceBytes: number;
};

/** A hand in memory, and how its driver ends it. */
export type VirtualHand = { readonly hand: Hand; end(): void };

/** A shell and a file system of just-bash. Folder and variables last between commands, functions and jobs do not. */
export function createVirtualHand(options: VirtualHandOptions): VirtualHand {
  const { handId, env, workspaceBytes } = options;
  const lost = new AbortController();
  const ledger = createLedger();
  const bash = new Bash({
    cwd: WORKSPACE,
    files: { [`${WORKSPACE}/.manyhands`]: "" },
    env: { ...env, HOME: "/home/hand", USER: "hand" },
    executionLimits: {
      maxFileSystemBytes: workspaceBytes,
      maxOutputSize: MAX_OUTPUT_BYTES,
      maxExecutionTimeMs: MAX_WALL_MS,
    },
  });
  const place = guardPlacedFiles(bash.fs);
  const ready = bash.fs.rm(`${WORKSPACE}/.manyhands`).then(() => bash.fs.mkdir("/home/hand", { recursive: true }));
  const fresh = { cwd: WORKSPACE, env: { ...bash.getEnv(), PWD: WORKSPACE } };
  let shell: { cwd: string; env: Record<string, string> } = fresh;
  let turn: Promise<unknown> = ready;

  const execute = async (
    script: string,
    how: ExecOptions,
    spec: OperationSpec,
    cancelled: AbortSignal,
  ): Promise<Ending & { env?: Record<string, string> }> => {
    const timeout = AbortSignal.timeout(spec.timeoutMs);
    const signal = AbortSignal.any([timeout, cancelled, lost.signal]);
    const result = await bash.exec(script, { ...how, rawScript: true, signal }).catch(readOnlyResult);
    const stdout = Buffer.from(result.stdout, result.stdoutKind === "bytes" ? "latin1" : "utf8");
    const output = Buffer.concat([stdout, Buffer.from(result.stderr)]);
    if (cancelled.aborted) return { output, exitCode: KILLED_EXIT_CODE, killedBy: "cancel" };
    if (timeout.aborted) return { output, exitCode: KILLED_EXIT_CODE, killedBy: "timeout" };
    return { output, exitCode: result.exitCode, env: result.env };
  };

  /** Commands of the shell take turns; each begins where the one before it ended. */
  const inTurn = (work: () => Promise<Ending>): Promise<Ending> => {
    const mine = turn.then(work);
    turn = mine.catch(() => undefined);
    return mine;
  };

  const perform = async (spec: OperationSpec, cancelled: AbortSignal): Promise<Ending> => {
    const { action } = spec;
    await ready;
    switch (action.kind) {
      case "shell":
        return inTurn(async () => {
          if (cancelled.aborted) return { output: new Uint8Array(), exitCode: KILLED_EXIT_CODE, killedBy: "cancel" };
          const how = { cwd: shell.cwd, env: shell.env, replaceEnv: true };
          const { env: after, ...ending } = await execute(
            Buffer.from(action.script).toString("utf8"),
            how,
            spec,
            cancelled,
          );
          if (after) shell = { cwd: after.PWD ?? shell.cwd, env: { ...after } };
          return ending;
        });
      case "restartShell":
        return inTurn(async () => {
          shell = fresh;
          return { output: new Uint8Array(), exitCode: 0 };
        });
      case "exec": {
        const [program = "", ...args] = action.argv;
        return execute(quote(program), { args, cwd: action.cwd ?? WORKSPACE }, spec, cancelled);
      }
      case "tool":
        throw new TypeError("a virtual hand knows no tools"); // a bug: only drivers that take tools are given any
      default:
        return fileAction(bash.fs, action, place);
    }
  };

  const check = () => {
    if (lost.signal.aborted) throw neverSent(toAppError(lost.signal.reason));
  };

  const hand: Hand = {
    handId,
    lost: lost.signal,
    async start(spec, signal) {
      check();
      const { existing, operation } = ledger.enter(spec, (signal) => perform(spec, signal));
      return { existing, state: operation.state, parts: partsOf(operation, eitherOf(lost.signal, signal)) };
    },
    async attach(operationId, signal) {
      check();
      const operation = ledger.find(operationId);
      return operation && partsOf(operation, eitherOf(lost.signal, signal));
    },
    async state(operationId) {
      check();
      return ledger.find(operationId)?.state;
    },
    async cancel(operationId) {
      check();
      const operation = ledger.find(operationId);
      if (!operation) return undefined;
      operation.abort.abort();
      await operation.done;
      return operation.state;
    },
    async look(action) {
      check();
      await ready;
      const { exitCode, output } = await fileAction(bash.fs, action, place);
      return { exitCode, bytes: output };
    },
    async detach() {},
  };
  return {
    hand,
    end: () => lost.abort(handLost("the virtual hand was destroyed")),
  };
}

function eitherOf(lost: AbortSignal, signal: AbortSignal | undefined): AbortSignal {
  return signal ? AbortSignal.any([lost, signal]) : lost;
}

/** A refused redirection is the script's failure, not the hand's. */
function readOnlyResult(error: unknown) {
  const message = error instanceof Error ? error.message : "";
  if (!message.startsWith(READ_ONLY)) throw error;
  return { stdout: "", stdoutKind: "text" as const, stderr: `bash: ${message}\n`, exitCode: 1, env: undefined };
}

function quote(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}
