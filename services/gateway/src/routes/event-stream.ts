/**
 * sessions.events.stream. Everything that can be refused is refused before the headers, and the position to start at
 * is known by then: an event that is sent the moment the client has the headers is on the stream.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { AppError, anySignal, toAppError } from "@manyhands/kit";
import { decodeEvent } from "@manyhands/protocol";
import type { Limits } from "../config.ts";
import type { Deps } from "../deps.ts";
import { type Followed, follow } from "../events/follow.ts";
import { createPreviews, previewTypes } from "../events/previews.ts";
import { toPublicEvent } from "../events/public-event.ts";
import { readEvent } from "../events/read-reference.ts";
import { openSse, type SseFrame, type SseWriter } from "../events/sse.ts";
import { whileLeased } from "../events/while-leased.ts";
import { forWorker } from "../events/worker-view.ts";
import type { StreamCall } from "../http/call.ts";
import { errorAnswer } from "../http/error-answer.ts";
import { param, readQuery } from "../http/query.ts";
import { readSession } from "./sessions.ts";

type StreamDeps = Pick<Deps, "sessions" | "streamSlots" | "work">;

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
    const over = new AbortController();
    const { work } = call.caller;
    try {
      if (work !== undefined) await whileLeased(deps.work, work.token, over, { metadata: call.rpc.metadata ?? {} });
      const followed = follow(deps.sessions, {
        workspaceId: call.caller.workspaceId,
        sessionId: call.param("session"),
        fromPosition: await startPosition(deps, call),
        deltas: query.event_deltas.length > 0,
        platform: query.x_include_platform,
        signal: anySignal(call.signal, stopping, over.signal),
        rpc: { metadata: call.rpc.metadata ?? {} },
      });
      const first = followed.next();
      await armed(first);
      if (stopping.aborted) throw toAppError(stopping.reason);
      const sse = openSse(hijack(call), answerHeaders(call), {
        pingMs: limits.streamPingMs,
        stallMs: limits.streamStallMs,
      });
      await pump(
        call,
        sse,
        first,
        followed,
        toFrames(query.event_deltas, query.x_include_platform, work !== undefined),
      );
      sse.end();
    } finally {
      over.abort();
      free();
    }
  };

/** How long the headers wait for the watch. Events are safe without it; previews that begin before it are not seen. */
const ARM_MS = 1000;

/** The watch is live, or its time is up. A refusal comes out here, while it can still be answered as one. */
async function armed(first: Promise<unknown>): Promise<void> {
  const enough = new AbortController();
  const late = sleep(ARM_MS, undefined, { signal: enough.signal }).catch(() => undefined);
  await Promise.race([first, late]).finally(() => enough.abort());
}

/** From here on the answer is written by hand. */
function hijack({ reply }: StreamCall) {
  reply.hijack();
  return reply.raw;
}

function answerHeaders({ reply }: StreamCall): Record<string, string> {
  return Object.fromEntries(Object.entries(reply.getHeaders()).map(([name, value]) => [name, String(value)]));
}

/** Sends everything until the end; an end that the client cannot know of is told by an `error` frame. */
async function pump(
  call: StreamCall,
  sse: SseWriter,
  first: Promise<IteratorResult<Followed, void>>,
  followed: AsyncIterator<Followed, void>,
  frames: (item: Followed) => SseFrame[],
): Promise<void> {
  try {
    for (let item = await first; !item.done; item = await followed.next()) {
      for (const frame of frames(item.value)) await sse.send(frame);
    }
  } catch (thrown) {
    const error = toAppError(thrown);
    call.logger.info({ err: error, session: call.param("session") }, "an event stream ended early");
    const gone = error.kind === "cancelled" || error.reason === "READER_TOO_SLOW" || !call.reply.raw.writable;
    if (!gone) await sse.send({ event: "error", data: errorAnswer(error, call.requestId).body });
  }
}

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

function toFrames(wanted: readonly (typeof previewTypes)[number][], platform: boolean, toWorker: boolean) {
  const previews = createPreviews(wanted);
  return (item: Followed): SseFrame[] => {
    if ("caughtUp" in item) return [];
    if ("delta" in item) {
      const preview = previews.delta(item.delta);
      return preview === undefined ? [] : [{ event: preview.type, data: preview }];
    }
    const event = decodeEvent(item.event);
    previews.stored(event);
    const shown = toPublicEvent(event, { platform });
    const seen = shown && toWorker ? forWorker(shown) : shown;
    return seen === undefined ? [] : [{ event: seen.type, id: seen.id, data: seen }];
  };
}
