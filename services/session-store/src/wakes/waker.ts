/**
 * Sees to it that a session with work has a wake. Right after the append: publish. While the log does not move: publish
 * again a few times, because a brain may have been settling an older wake at that very moment. For whatever is left
 * (this process died, the bus was away) the reconciler looks at all stalled sessions from time to time. A surplus wake
 * costs a brain one look at the log; a missing one would leave a session stuck.
 */
import type { SessionHeader } from "@manyhands/core";
import { type Clock, type Logger, toAppError } from "@manyhands/kit";
import type { SessionIndex } from "../projections/session-index.ts";

/** A wake to be published. */
export interface WakeRequest {
  readonly kind: string;
  readonly sessionId: string;
  readonly traceparent?: string;
}

/** What the waker needs. */
export interface WakerDeps {
  publish(wake: WakeRequest): Promise<"published" | "pending">;
  readonly index: () => SessionIndex | undefined;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Between two looks at stalled sessions, in milliseconds. */
  readonly rescanMs: number;
  readonly signal: AbortSignal;
}

/** The waker. */
export interface Waker {
  /** Wakes a session whose log now ends at `headPosition`; returns at once. */
  notify(wake: WakeRequest, header: SessionHeader): void;
  /** Looks at stalled sessions once; answers how many wakes it published. */
  rescan(): Promise<number>;
  /** Resolves when the running work has ended; call after the signal fired. */
  settled(): Promise<void>;
}

const retryWaitsMs = [250, 1000, 3000] as const;
const maxTracked = 10_000;
const maxPerRescan = 1000;

/** Starts the reconciler, which runs until the signal fires. */
export function createWaker(deps: WakerDeps): Waker {
  const heads = new Map<string, number>();
  const running = new Set<Promise<void>>();

  const publish = async (wake: WakeRequest): Promise<boolean> => {
    try {
      await deps.publish(wake);
      return true;
    } catch (error) {
      deps.logger.warn({ err: toAppError(error), session_id: wake.sessionId }, "a wake is not stored yet");
      return false;
    }
  };

  /** Moves on when the log moves: the newer append has its own follow-up. */
  const followUp = async (wake: WakeRequest, head: number): Promise<void> => {
    await publish(wake);
    for (const waitMs of retryWaitsMs) {
      await deps.clock.sleep(waitMs, deps.signal);
      const folded = deps.index()?.startOf(wake.sessionId)?.header;
      const moved = heads.get(wake.sessionId) !== head || (folded?.head_position ?? head) > head;
      if (moved) return;
      await publish(wake);
    }
  };

  const rescan = async (): Promise<number> => {
    const stalled = deps.index()?.stalled(deps.clock.nowMs() - deps.rescanMs, maxPerRescan) ?? [];
    let published = 0;
    for (const { sessionId, header } of stalled) {
      if (await publish({ kind: header.harness_kind, sessionId })) published += 1;
    }
    return published;
  };

  const track = (work: Promise<void>) => {
    running.add(work);
    const end = () => running.delete(work);
    work.then(end, end);
  };

  track(
    (async () => {
      while (!deps.signal.aborted) {
        await deps.clock.sleep(deps.rescanMs, deps.signal).catch(() => undefined);
        if (!deps.signal.aborted) await rescan();
      }
    })(),
  );

  return {
    notify(wake, header) {
      const head = header.head_position;
      if (running.size >= maxTracked) return; // the reconciler will see it
      heads.set(wake.sessionId, head);
      track(
        followUp(wake, head)
          .catch(() => undefined) // only the stop interrupts a wait
          .finally(() => {
            if (heads.get(wake.sessionId) === head) heads.delete(wake.sessionId);
          }),
      );
    },
    rescan,
    async settled() {
      await Promise.allSettled(running);
    },
  };
}
