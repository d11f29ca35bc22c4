/** Ends a worker's stream with its lease: no tool use is shown to a worker that another one may follow. */
import { setTimeout as sleep } from "node:timers/promises";
import { type CallOptions, toAppError } from "@manyhands/kit";
import { WorkUse } from "@manyhands/protocol";
import type { Deps } from "../deps.ts";

const MAX_WAIT_MS = 5000;
const MIN_WAIT_MS = 100;

/**
 * Asks the queue again and again until `over` aborts, and aborts it at the latest when the lease that was last
 * confirmed ends. Rejects only when the token is not good to begin with.
 */
export async function whileLeased(
  work: Pick<Deps["work"], "authorizeWork">,
  token: string,
  over: AbortController,
  rpc: CallOptions,
): Promise<void> {
  const ask = async () => {
    const askedAtMs = performance.now();
    const { leaseMs } = await work.authorizeWork({ token, use: WorkUse.READ_EVENTS }, rpc);
    return askedAtMs + leaseMs;
  };
  const first = await ask();
  const watch = async () => {
    for (let endsAtMs = first; !over.signal.aborted; ) {
      const leftMs = endsAtMs - performance.now();
      if (leftMs <= 0) return over.abort();
      const waitMs = leftMs <= MIN_WAIT_MS ? leftMs : Math.max(MIN_WAIT_MS, Math.min(leftMs / 2, MAX_WAIT_MS));
      await sleep(waitMs, undefined, { signal: over.signal, ref: false });
      try {
        endsAtMs = await ask();
      } catch (thrown) {
        if (toAppError(thrown).kind === "unauthenticated") return over.abort();
      }
    }
  };
  void watch().catch(() => over.abort());
}
