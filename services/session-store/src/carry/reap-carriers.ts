/** Removes what imports left behind that broke off: a carrier that no session shares, long after it was begun. */
import { type Clock, idTimeMs, type Logger, toAppError } from "@manyhands/kit";
import type { SessionIndex } from "../projections/session-index.ts";
import type { EventStore } from "../store/event-store.ts";
import type { SideStore } from "../store/side-store.ts";
import { purgeCarrier } from "./import-frames.ts";

/** An import must be done so long after it began, in milliseconds; later it is refused at its last step. */
export const maxImportMs = 3_600_000;

/** What it needs. */
export interface ReapDeps {
  readonly index: Pick<SessionIndex, "openCarriers" | "forgetCarrier" | "caughtUp">;
  readonly store: EventStore;
  readonly side: SideStore;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** No import that may still succeed is touched, also when clocks differ a good deal. */
const graceMs = 2 * maxImportMs;
const everyMs = 600_000;

/** Removes what is old enough; answers how many carriers went. Never throws: the next sweep is as good. */
export async function sweepCarriers(deps: ReapDeps): Promise<number> {
  const { index, clock, logger } = deps;
  if (!index.caughtUp()) return 0;
  let gone = 0;
  for (const carrierId of index.openCarriers()) {
    const begunMs = idTimeMs(carrierId);
    if (begunMs === undefined || clock.nowMs() - begunMs < graceMs) continue;
    try {
      const frames = await purgeCarrier(deps, carrierId);
      index.forgetCarrier(carrierId);
      gone += 1;
      if (frames > 0) logger.info({ carrier_id: carrierId, frames }, "what a broken-off import left behind is removed");
    } catch (error) {
      logger.warn({ err: toAppError(error), carrier_id: carrierId }, "a carrier could not be removed");
    }
  }
  return gone;
}

/** Sweeps from time to time until the signal fires; resolves then. */
export async function reapCarriers(deps: ReapDeps, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await sweepCarriers(deps);
    await deps.clock.sleep(everyMs, signal).catch(() => undefined);
  }
}
