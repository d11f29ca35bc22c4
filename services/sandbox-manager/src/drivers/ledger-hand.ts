/** What hands have in common whose operations the manager itself remembers: it is their only ledger. */
import { toAppError } from "@manyhands/kit";
import type { Hand, OperationSpec } from "./driver.ts";
import { neverSent } from "./hand-lost.ts";
import { type createLedger, type Ending, partsOf } from "./virtual/virtual-operations.ts";

type Ledger = ReturnType<typeof createLedger>;

/** Entering, following and finding operations of a ledger, for as long as the hand is not lost. */
export type LedgerHand = Pick<Hand, "attach" | "state"> & {
  /** Throws once the hand is lost: what was asked for certainly did not run. */
  check(): void;
  /** `perform` is called unless the operation is known. */
  enter(
    spec: OperationSpec,
    perform: (cancelled: AbortSignal) => Promise<Ending>,
    signal: AbortSignal | undefined,
  ): ReturnType<Hand["start"]>;
};

/** The part of a hand that its ledger is enough for. */
export function createLedgerHand(ledger: Ledger, lost: AbortSignal): LedgerHand {
  const check = () => {
    if (lost.aborted) throw neverSent(toAppError(lost.reason));
  };
  const until = (signal: AbortSignal | undefined) => (signal ? AbortSignal.any([lost, signal]) : lost);
  return {
    check,
    async enter(spec, perform, signal) {
      check();
      const { existing, operation } = ledger.enter(spec, perform);
      return { existing, state: operation.state, parts: partsOf(operation, until(signal)) };
    },
    async attach(operationId, signal) {
      check();
      const operation = ledger.find(operationId);
      return operation && partsOf(operation, until(signal));
    },
    async state(operationId) {
      check();
      return ledger.find(operationId)?.state;
    },
  };
}
