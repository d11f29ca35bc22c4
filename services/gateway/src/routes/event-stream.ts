/**
 * sessions.events.stream. Everything that can be refused is refused before the headers, and the position to start at
 * is known by then: an event that is sent the moment the client has the headers is on the stream.
 */
import { AppError, anySignal, toAppError } from "@manyhands/kit";
import { decodeEvent } from "@manyhands/protocol";
import type { Limits } from "../config.ts";
import type { Deps } from "../deps.ts";
import { type Followed, follow } from "../events/follow.ts";
import { createPreviews, previewTypes } from "../events/previews.ts";
import { toPublicEvent } from "../events/public-event.ts";
import { readEvent } from "../events/read-reference.ts";
import { openSse, type SseFrame } from "../events/sse.ts";
import type { StreamCall } from "../http/call.ts";
import { errorAnswer } from "../http/error-answer.ts";
import { param, readQuery } from "../http/query.ts";
import { readSession } from "./sessions.ts";

type StreamDeps = Pick<Deps, "sessions" | "streamSlots">;

const MAX_EVENT_DELTAS = 100;

/** Handler of `sessions.events.stream`; `stopping` aborts when the service stops. */
export const eventStream =
  (deps: StreamDeps, limits: Pick<Limits, "streamPingMs" | "streamStallMs">, stopping: AbortSignal) =>
  async (call: StreamCall): Promise<void> => {
    const query = readQuery(call.query, {
      event_deltas: param.someOf(previewTypes, MAX_EVENT_DELTAS),
      x_include_platform: param.flag(),
    });
    const free = deps.streamSlots.take(call.caller.workspaceId);
    try {
      const fromPosition = await startPosition(deps, call);
      if (stopping.aborted) throw toAppError(stopping.reason);
      const response = call.reply.raw;
      call.reply.hijack();
      const headers = Object.fromEntries(
        Object.entries(call.reply.getHeaders()).map(([name, value]) => [name, String(value)]),
      );
      const sse = openSse(response, headers, { pingMs: limits.streamPingMs, stallMs: limits.streamStallMs });
      const frames = toFrames(query.event_deltas, query.x_include_platform);
      const followed = follow(deps.sessions, {
        workspaceId: call.caller.workspaceId,
        sessionId: call.param("session"),
        fromPosition,
        deltas: query.event_deltas.length > 0,
        platform: query.x_include_platform,
        signal: anySignal(call.signal, stopping),
        rpc: { metadata: call.rpc.metadata ?? {} },
      });
      try {
        for await (const item of followed) {
          for (const frame of frames(item)) await sse.send(frame);
        }
      } catch (thrown) {
        const error = toAppError(thrown);
        call.logger.info({ err: error, session: call.param("session") }, "an event stream ended early");
        const gone = error.kind === "cancelled" || error.reason === "READER_TOO_SLOW";
        if (!gone && response.writable)
          await sse.send({ event: "error", data: errorAnswer(error, call.requestId).body });
      }
      sse.end();
    } finally {
      free();
    }
  };

/** Live only, or after the event that the client saw last. Throws AppError `notFound` before any header is sent. */
async function startPosition(deps: StreamDeps, call: StreamCall): Promise<bigint> {
  const session = await readSession(deps, call);
  const lastId = call.header("last-event-id");
  if (lastId === undefined || lastId === "") return session.headPosition;
  const place = { workspaceId: call.caller.workspaceId, sessionId: session.id, rpc: call.rpc };
  const last = await readEvent(deps.sessions, place, lastId);
  if (last === undefined) throw AppError.notFound("event", lastId.slice(0, 128));
  return BigInt(last.position + 1);
}

function toFrames(wanted: readonly (typeof previewTypes)[number][], platform: boolean) {
  const previews = createPreviews(wanted);
  return (item: Followed): SseFrame[] => {
    if ("delta" in item) {
      const preview = previews.delta(item.delta);
      return preview === undefined ? [] : [{ event: preview.type, data: preview }];
    }
    const event = decodeEvent(item.event);
    previews.stored(event);
    const shown = toPublicEvent(event, { platform });
    return shown === undefined ? [] : [{ event: shown.type, id: shown.id, data: shown }];
  };
}
