import { AppError } from "@manyhands/kit";
import type { OperationPart, OperationSpec, OperationState } from "../driver.ts";

/** Output kept for all operations of one hand; the oldest finished ones lose theirs first. */
const KEPT_BYTES = 64 * 1024 * 1024;
const MAX_OPERATIONS = 65_536;

/** How an operation ended, before it is written into the ledger. */
export type Ending = {
  readonly output: Uint8Array;
  readonly exitCode: number;
  readonly killedBy?: "timeout" | "cancel";
};

/** One entry of the ledger. */
export type Operation = {
  readonly spec: OperationSpec;
  readonly abort: AbortController;
  readonly done: Promise<void>;
  state: OperationState;
  output: Uint8Array;
};

/** The ledger of a virtual hand: the same rules as the in-hand agent's (D1, D2), in memory. */
export function createLedger() {
  const operations = new Map<string, Operation>();
  let keptBytes = 0;

  const keep = (operation: Operation, output: Uint8Array) => {
    operation.output = output;
    keptBytes += output.length;
    for (const old of operations.values()) {
      if (keptBytes <= KEPT_BYTES) return;
      if (old === operation || old.output.length === 0) continue;
      keptBytes -= old.output.length;
      old.state = { ...old.state, unreadableBytes: old.state.outputBytes };
      old.output = new Uint8Array();
    }
  };

  return {
    find: (id: string) => operations.get(id),
    all: () => operations.values(),

    /** The entry of this id, new or old; `work` runs only for a new one. */
    enter(
      spec: OperationSpec,
      work: (signal: AbortSignal) => Promise<Ending>,
    ): { existing: boolean; operation: Operation } {
      const known = operations.get(spec.id);
      if (known) {
        if (Buffer.compare(known.spec.inputHash, spec.inputHash) === 0) return { existing: true, operation: known };
        throw AppError.conflict("ID_REUSED", "this operation id was used with another input");
      }
      if (operations.size >= MAX_OPERATIONS)
        throw AppError.exhausted("HAND_JOURNAL_FULL", "no room in the hand's ledger");
      const abort = new AbortController();
      const done = Promise.resolve().then(async () => {
        const ending = await work(abort.signal);
        operation.state = endedState(spec.id, ending);
        keep(operation, ending.output);
      });
      const operation: Operation = { spec, abort, done, state: runningState(spec.id), output: new Uint8Array() };
      operations.set(spec.id, operation);
      return { existing: false, operation };
    },
  };
}

/** Waits for the end, then shows the output and the end. `ended` ends the wait. */
export async function* partsOf(operation: Operation, ended: AbortSignal): AsyncGenerator<OperationPart> {
  const gone = new Promise<never>((_resolve, reject) => {
    if (ended.aborted) reject(ended.reason);
    ended.addEventListener("abort", () => reject(ended.reason), { once: true });
  });
  await Promise.race([operation.done, gone]);
  if (operation.output.length > 0) yield { type: "output", offset: 0, bytes: operation.output };
  yield { type: "exit", state: operation.state };
}

function runningState(id: string): OperationState {
  return {
    id,
    phase: "running",
    killedBy: undefined,
    shellLost: false,
    exitCode: undefined,
    signal: undefined,
    outputBytes: 0,
    unreadableBytes: 0,
  };
}

function endedState(id: string, ending: Ending): OperationState {
  return {
    ...runningState(id),
    phase: "exited",
    killedBy: ending.killedBy,
    shellLost: false,
    exitCode: ending.killedBy ? undefined : ending.exitCode,
    outputBytes: ending.output.length,
  };
}
