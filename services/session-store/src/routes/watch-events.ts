import type { MessageInitShape } from "@bufbuild/protobuf";
import type { MethodHandler } from "@manyhands/kit";
import type { SessionService, WatchEventsRequest, WatchEventsResponseSchema } from "@manyhands/protocol";
import type { Deps } from "../deps.ts";
import { findPosition } from "../log/find-event.ts";
import type { HotSession } from "../log/hot-session.ts";
import { type WatchItem, watchSession } from "../log/watch-session.ts";
import { WatchedEvent } from "./pass-on.ts";
import { checkOwner, checkSessionId, checkWorkspace, rules } from "./request-rules.ts";

const defaultHeartbeatMs = 15_000;

/** History, then live. */
export function watchEvents(
  deps: Pick<Deps, "cache" | "store" | "blobs" | "recall" | "deltas" | "config">,
): MethodHandler<typeof SessionService.method.watchEvents> {
  return async function* (request, context) {
    const rule = rules();
    checkWorkspace(rule, request.workspaceId, true);
    checkSessionId(rule, request.sessionId);
    const beat = request.heartbeatMs;
    rule.check(beat === 0 || (beat >= 1000 && beat <= 60_000), "heartbeat_ms", "must be 0 or 1000 to 60000");
    rule.done();
    const hot = await deps.cache.current(request.sessionId);
    checkOwner(hot, request.workspaceId);
    const items = watchSession(
      { ...deps, ...deps.config.watch },
      {
        hot,
        from: await startOf(deps, hot, request),
        filter: { types: [], includePlatform: request.includePlatform },
        heartbeatMs: beat || defaultHeartbeatMs,
        includeDeltas: request.includeDeltas,
      },
      context.signal,
    );
    for await (const batch of items) {
      for (const item of batch) {
        if (item.kind !== "event") yield toWire(item);
        else if (!request.includeBlobs) yield new WatchedEvent(item.event);
        else {
          const [event] = await deps.blobs.restore(request.sessionId, [item.event.decode()]);
          if (event !== undefined) yield { item: { case: "event", value: event } };
        }
      }
    }
  };
}

async function startOf(
  deps: Pick<Deps, "store" | "recall">,
  hot: HotSession,
  request: WatchEventsRequest,
): Promise<number> {
  const { start } = request;
  if (start.case === "fromPosition") return Number(start.value);
  if (start.case === "afterEventId") return (await findPosition(deps, hot, start.value)) + 1;
  return hot.header?.head_position ?? 0;
}

function toWire(item: Exclude<WatchItem, { kind: "event" }>): MessageInitShape<typeof WatchEventsResponseSchema> {
  switch (item.kind) {
    case "delta":
      return { item: { case: "delta", value: item.delta } };
    case "caughtUp":
      return { item: { case: "caughtUp", value: { headPosition: BigInt(item.headPosition) } } };
    case "heartbeat":
      return { item: { case: "heartbeat", value: { headPosition: BigInt(item.headPosition) } } };
  }
}
