/**
 * A session's events from a position on, for as long as anyone reads. A session-store that goes away in between costs
 * the reader nothing: the watch is taken up again at the next position, for as long as a service takes to be started again.
 *
 * F1: positions go out in order, each once. F2: the wait between two tries grows and every wait ends with the signal.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { type AppError, backoffMs, type CallOptions, newId, type RpcClient, toAppError } from "@manyhands/kit";
import { type Delta, type Event, EventSchema, type SessionService } from "@manyhands/protocol";

/** What a follower gets; `caughtUp` says that from here on everything is live. */
export type Followed = { readonly event: Event } | { readonly delta: Delta } | { readonly caughtUp: true };

/** What to follow. */
export type FollowOptions = {
  readonly workspaceId: string;
  readonly sessionId: string;
  /** First position to send. */
  readonly fromPosition: bigint;
  readonly deltas: boolean;
  readonly platform: boolean;
  readonly signal: AbortSignal;
  readonly rpc: CallOptions;
};

/** So long session-store may stay away in one go: a restart on a busy machine, or a new leader of its log. */
const MAX_AWAY_MS = 30_000;
const MAX_WAIT_MS = 1000;

/** What may be replaced in a test. */
export type FollowClock = {
  readonly nowMs: () => number;
  readonly wait: (ms: number, signal: AbortSignal) => Promise<void>;
};

const realClock: FollowClock = {
  nowMs: () => performance.now(),
  wait: (ms, signal) => sleep(ms, undefined, { signal }).catch(() => undefined),
};

/** Events and deltas until the session is deleted, the signal aborts, or session-store stays away. */
export async function* follow(
  sessions: Pick<RpcClient<typeof SessionService>, "watchEvents">,
  options: FollowOptions,
  clock: FollowClock = realClock,
): AsyncGenerator<Followed> {
  let next = options.fromPosition;
  let failures = 0;
  let awaySinceMs: number | undefined;
  const isAwayLong = () => {
    awaySinceMs ??= clock.nowMs();
    return clock.nowMs() - awaySinceMs >= MAX_AWAY_MS;
  };
  while (!options.signal.aborted) {
    try {
      for await (const { item } of watch(sessions, options, next)) {
        failures = 0;
        awaySinceMs = undefined;
        if (item.case === "event" && item.value.position >= next) {
          next = item.value.position + 1n;
          yield { event: item.value };
          if (item.value.type === "session.deleted") return;
        } else if (item.case === "delta") yield { delta: item.value };
        else if (item.case === "caughtUp") yield { caughtUp: true };
      }
    } catch (thrown) {
      if (options.signal.aborted) return;
      const error = toAppError(thrown);
      if (error.kind === "notFound") {
        yield { event: deletion(next) };
        return;
      }
      if (!passes(error) || isAwayLong()) throw error;
    }
    if (isAwayLong()) return;
    failures += 1;
    await clock.wait(backoffMs(failures, { initialMs: 50, maxMs: MAX_WAIT_MS }), options.signal);
  }
}

function watch(sessions: Pick<RpcClient<typeof SessionService>, "watchEvents">, options: FollowOptions, from: bigint) {
  return sessions.watchEvents(
    {
      workspaceId: options.workspaceId,
      sessionId: options.sessionId,
      start: { case: "fromPosition", value: from },
      includeDeltas: options.deltas,
      includePlatform: options.platform,
    },
    { ...options.rpc, signal: options.signal, deadlineMs: Number.POSITIVE_INFINITY },
  );
}

/** The session was there and is gone: deleted between two looks, and its own last event went with its log. */
function deletion(position: bigint): Event {
  return create(EventSchema, {
    id: newId("sevt"),
    type: "session.deleted",
    position,
    createdAt: timestampFromMs(Date.now()),
    payload: { case: "sessionDeleted", value: {} },
  });
}

/** `exhausted` is session-store dropping a slow reader: by then this one is ready again, so it goes on where it was. */
function passes(error: AppError): boolean {
  return error.kind === "unavailable" || error.kind === "exhausted" || error.kind === "cancelled";
}
