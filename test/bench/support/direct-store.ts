/** session-store's own handlers, called in this process: all of its code, none of gRPC. */
import { create } from "@bufbuild/protobuf";
import {
  CreateSessionRequestSchema,
  EmitEventsRequestSchema,
  type Event,
  GetEventsRequestSchema,
  WatchEventsRequestSchema,
} from "@manyhands/protocol";
import type { Deps } from "@manyhands/session-store";
import { createSession } from "../../../services/session-store/src/routes/create-session.ts";
import { emitEvents } from "../../../services/session-store/src/routes/emit-events.ts";
import { getEvents } from "../../../services/session-store/src/routes/get-events.ts";
import { watchEvents } from "../../../services/session-store/src/routes/watch-events.ts";
import { callContext, newSessionRequest } from "./events.ts";

/** The primitives of a log. */
export interface DirectStore {
  /** Makes a session that holds its first event only; answers its id. */
  newSession(): Promise<string>;
  /** Appends one frame. */
  emit(sessionId: string, events: Event[]): Promise<void>;
  /** Number of events in the slice `[from, to)`. */
  slice(sessionId: string, from: number, to: number): Promise<number>;
  /** Positions of events, history then live, until the signal aborts; `undefined` marks "caught up". */
  watch(sessionId: string, from: number, signal: AbortSignal): AsyncIterable<number | undefined>;
}

/** Calls the handlers over the given dependencies. */
export function directStore(deps: Deps): DirectStore {
  const [make, emit, get, watch] = [createSession(deps), emitEvents(deps), getEvents(deps), watchEvents(deps)];
  return {
    async newSession() {
      const { session } = await make(create(CreateSessionRequestSchema, newSessionRequest()), callContext());
      return session?.id ?? "";
    },
    async emit(sessionId, events) {
      await emit(create(EmitEventsRequestSchema, { sessionId, events }), callContext());
    },
    async slice(sessionId, from, to) {
      const { events = [] } = await get(
        create(GetEventsRequestSchema, sliceRequest(sessionId, from, to)),
        callContext(),
      );
      return events.length;
    },
    async *watch(sessionId, from, signal) {
      const request = create(WatchEventsRequestSchema, {
        sessionId,
        includePlatform: true,
        start: { case: "fromPosition", value: BigInt(from) },
      });
      for await (const { item } of watch(request, callContext(signal))) {
        if (item?.case === "event") yield Number(item.value.position);
        if (item?.case === "caughtUp") yield undefined;
      }
    },
  };
}

/** Asks for the slice `[from, to)`, whoever carries it. */
export function sliceRequest(sessionId: string, from: number, to: number) {
  const value = { from: BigInt(from), to: BigInt(to) };
  return { sessionId, includePlatform: true, slice: { case: "range", value } } as const;
}
