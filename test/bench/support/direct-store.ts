/** session-store's own handlers, called in this process: all of its code, none of gRPC. */
import { create, fromBinary } from "@bufbuild/protobuf";
import { Encoded } from "@manyhands/kit";
import {
  CreateSessionRequestSchema,
  EmitEventsRequestSchema,
  type Event,
  GetEventsRequestSchema,
  GetEventsResponseSchema,
  WatchEventsRequestSchema,
} from "@manyhands/protocol";
import type { Deps } from "@manyhands/session-store";
import { createSession } from "../../../services/session-store/src/routes/create-session.ts";
import { emitEvents } from "../../../services/session-store/src/routes/emit-events.ts";
import { getEvents } from "../../../services/session-store/src/routes/get-events.ts";
import { WatchedEvent } from "../../../services/session-store/src/routes/pass-on.ts";
import { watchEvents } from "../../../services/session-store/src/routes/watch-events.ts";
import { callContext, newSessionRequest } from "./events.ts";

/** The primitives of a log. */
export interface DirectStore {
  /** Makes a session that holds its first event only; answers its id. */
  newSession(): Promise<string>;
  /** Appends one frame. */
  emit(sessionId: string, events: Event[]): Promise<void>;
  /** The slice `[from, to)` as the bytes that gRPC sends. */
  slice(sessionId: string, from: number, to: number): Promise<Uint8Array>;
  /** Positions of events, history then live, until the signal aborts; `undefined` marks "caught up". */
  watch(sessionId: string, from: number, signal: AbortSignal): AsyncIterable<number | undefined>;
}

/** Calls the handlers over the given dependencies. */
export function directStore(deps: Deps): DirectStore {
  const [make, emit, get, watch] = [createSession(deps), emitEvents(deps), getEvents(deps), watchEvents(deps)];
  return {
    async newSession() {
      const answer = await make(create(CreateSessionRequestSchema, newSessionRequest()), callContext());
      return "session" in answer ? (answer.session?.id ?? "") : "";
    },
    async emit(sessionId, events) {
      await emit(create(EmitEventsRequestSchema, { sessionId, events }), callContext());
    },
    async slice(sessionId, from, to) {
      const answer = await get(create(GetEventsRequestSchema, sliceRequest(sessionId, from, to)), callContext());
      if (!(answer instanceof Encoded)) throw new Error("a slice is passed on as it is stored");
      return answer.bytes;
    },
    async *watch(sessionId, from, signal) {
      const request = create(WatchEventsRequestSchema, {
        sessionId,
        includePlatform: true,
        start: { case: "fromPosition", value: BigInt(from) },
      });
      for await (const answer of watch(request, callContext(signal))) {
        if (answer instanceof WatchedEvent) yield answer.position;
        else if ("item" in answer && answer.item?.case === "caughtUp") yield undefined;
      }
    },
  };
}

/** Number of events in an answer. */
export function eventsIn(slice: Uint8Array): number {
  return fromBinary(GetEventsResponseSchema, slice).events.length;
}

/** Asks for the slice `[from, to)`, whoever carries it. */
export function sliceRequest(sessionId: string, from: number, to: number) {
  const value = { from: BigInt(from), to: BigInt(to) };
  return { sessionId, includePlatform: true, slice: { case: "range", value } } as const;
}
