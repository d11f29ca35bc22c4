/** The log of the simulation and the real one, asked the same in the same order: they may not differ in any answer. */
import { create } from "@bufbuild/protobuf";
import type { NewEvent } from "@manyhands/core";
import { newId, toAppError } from "@manyhands/kit";
import { type Event, encodeEvent, GetEventsRequestSchema } from "@manyhands/protocol";
import { type NatsServer, startNatsServer } from "@manyhands/testkit";
import fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";
import { newSession, startStore, testConfig } from "../../services/session-store/src/testing/service.ts";
import { MemoryLog } from "./memory-log.ts";

/** One thing to ask; numbers are relative to where the log stands. */
type Step =
  | {
      readonly type: "emit";
      readonly what: "message" | "take" | "words" | "end" | "checkpoint";
      readonly count: number;
      /** Added to the head; none: no expected position. */
      readonly position: number | undefined;
      /** Added to the newest epoch, or to the next one when taking; none: 0, as clients say. */
      readonly epoch: number | undefined;
      /** Says an earlier request's id, or an earlier event's, again. */
      readonly again: "request" | "event" | "no";
    }
  | { readonly type: "read"; readonly from: number; readonly to: number | undefined }
  | { readonly type: "fromCheckpoint" };

const near = fc.oneof(
  { weight: 6, arbitrary: fc.constant(0) },
  { weight: 1, arbitrary: fc.constantFrom(-1, 1, -2, 3) },
);
const emit = fc.record({
  type: fc.constant("emit" as const),
  what: fc.oneof(
    { weight: 4, arbitrary: fc.constant("message" as const) },
    { weight: 3, arbitrary: fc.constant("take" as const) },
    { weight: 5, arbitrary: fc.constant("words" as const) },
    { weight: 1, arbitrary: fc.constant("checkpoint" as const) },
  ),
  count: fc.integer({ min: 1, max: 3 }),
  position: fc.option(near, { nil: undefined }),
  epoch: fc.option(near, { nil: undefined, freq: 5 }),
  again: fc.oneof(
    { weight: 6, arbitrary: fc.constant("no" as const) },
    { weight: 1, arbitrary: fc.constantFrom("request" as const, "event" as const) },
  ),
});
const end = fc.constant<Step>({
  type: "emit",
  what: "end",
  count: 1,
  position: undefined,
  epoch: undefined,
  again: "no",
});
const read = fc
  .tuple(fc.nat(12), fc.option(fc.nat(12), { nil: undefined }))
  .map(([from, more]): Step => ({ type: "read", from, to: more === undefined ? undefined : from + more }));
const steps = fc.array(
  fc.oneof(
    { weight: 12, arbitrary: emit },
    { weight: 3, arbitrary: read },
    { weight: 2, arbitrary: fc.constant<Step>({ type: "fromCheckpoint" }) },
    { weight: 1, arbitrary: end },
  ),
  { minLength: 5, maxLength: 30 },
);

let nats: NatsServer;
let store: Awaited<ReturnType<typeof startStore>>;

beforeAll(async () => {
  nats = await startNatsServer();
  store = await startStore(testConfig(nats, { MH_ALLOW_DATA_LOSS: "true" }));
});
afterAll(async () => {
  await store?.stop();
  await nats?.stop();
});

it("answers as the real one does, whatever is asked in whatever order", async () => {
  let asked = 0;
  const refusals = new Set<string>();
  await fc.assert(
    fc.asyncProperty(steps, async (sequence) => {
      const id = await newSession(store.sessions);
      const fake = new MemoryLog(() => Date.now());
      fake.create(id, await realEvents(id));
      const said: Said = { requests: [], events: [] };
      for (const step of sequence) {
        asked += 1;
        const ask = requestOf(step, fake, id, said);
        const real = await outcome(() => askReal(ask));
        const simulated = await outcome(async () => askFake(fake, ask));
        expect(simulated).toEqual(real);
        if (typeof real === "string") refusals.add(real);
      }
    }),
    { numRuns: 60, seed: 20_261_120 },
  );
  expect(asked).toBeGreaterThan(500);
  expect([...refusals].sort()).toEqual(
    expect.arrayContaining(["conflict POSITION_CONFLICT", "conflict SESSION_CLOSED", "fenced FENCED"]),
  );
});

interface Said {
  readonly requests: { readonly requestId: string; readonly events: Event[] }[];
  readonly events: Event[];
}

type Ask =
  | { readonly type: "emit"; readonly request: Parameters<MemoryLog["emit"]>[0] }
  | { readonly type: "read"; readonly sessionId: string; readonly from: number; readonly to: number | undefined }
  | { readonly type: "fromCheckpoint"; readonly sessionId: string };

function requestOf(step: Step, fake: MemoryLog, sessionId: string, said: Said): Ask {
  if (step.type !== "emit") return { ...step, sessionId };
  const session = fake.session(sessionId);
  const base = step.what === "take" ? session.epoch + 1 : session.epoch;
  const epoch = step.epoch === undefined && step.what !== "take" ? 0 : Math.max(0, base + (step.epoch ?? 0));
  const earlier = step.again === "request" ? said.requests.at(-1) : undefined;
  const repeated = step.again === "event" ? said.events.at(-1) : undefined;
  const fresh = Array.from({ length: step.what === "take" ? 1 : step.count }, () =>
    encodeEvent(eventOf(step.what, epoch)),
  );
  const events = earlier?.events ?? (repeated === undefined ? fresh : [repeated]);
  const requestId = earlier?.requestId ?? newId("req");
  said.requests.push({ requestId, events });
  said.events.push(...events);
  const position = step.position === undefined ? undefined : BigInt(Math.max(0, session.events.length + step.position));
  return { type: "emit", request: { sessionId, events, epoch: BigInt(epoch), requestId, expectedPosition: position } };
}

function eventOf(what: Extract<Step, { type: "emit" }>["what"], epoch: number): NewEvent {
  const id = newId("sevt");
  switch (what) {
    case "message":
      return { id, type: "user.message", content: [{ type: "text", text: "hello" }] };
    case "take":
      return { id, type: "brain.woken", epoch, harness_kind: "default", harness_version: "1", instance_id: "a" };
    case "words":
      return { id, type: "agent.message", content: [{ type: "text", text: "well" }] };
    case "checkpoint":
      return { id, type: "context.checkpointed", up_to_position: 1, fold_version: 1, state: {} };
    case "end":
      return { id, type: "session.status_terminated" };
    default: {
      const never: never = what;
      return never;
    }
  }
}

async function askReal(ask: Ask): Promise<unknown> {
  if (ask.type === "emit") {
    const { expectedPosition, ...request } = ask.request;
    const answer = await store.sessions.emitEvents({
      ...request,
      events: [...request.events],
      ...(expectedPosition === undefined ? {} : { expectedPosition }),
    });
    return { events: answer.events.map(inShort), head: Number(answer.headPosition), duplicate: answer.duplicate };
  }
  const slice =
    ask.type === "fromCheckpoint"
      ? { case: "fromCheckpoint" as const, value: true }
      : {
          case: "range" as const,
          value: { from: BigInt(ask.from), ...(ask.to === undefined ? {} : { to: BigInt(ask.to) }) },
        };
  const request = create(GetEventsRequestSchema, {
    sessionId: ask.sessionId,
    slice,
    includePlatform: true,
    pageSize: 1000,
  });
  return (await store.sessions.getEvents(request)).events.map(inShort);
}

function askFake(fake: MemoryLog, ask: Ask): unknown {
  if (ask.type === "emit") {
    const answer = fake.emit(ask.request);
    return { events: answer.events.map(inShort), head: answer.headPosition, duplicate: answer.duplicate };
  }
  const { events, checkpoint } = fake.session(ask.sessionId);
  const from = ask.type === "fromCheckpoint" ? checkpoint : ask.from;
  return events.slice(from, ask.type === "read" ? ask.to : undefined).map(inShort);
}

async function realEvents(sessionId: string): Promise<Event[]> {
  const request = create(GetEventsRequestSchema, { sessionId, includePlatform: true, pageSize: 1000 });
  return [...(await store.sessions.getEvents(request)).events];
}

function inShort(event: Event): string {
  return `${event.position} e${event.epoch} ${event.type} ${event.id}`;
}

/** An answer, or the kind and reason of a refusal: words may differ. */
async function outcome(work: () => Promise<unknown>): Promise<unknown> {
  try {
    return await work();
  } catch (thrown) {
    const { kind, reason } = toAppError(thrown);
    return `${kind} ${reason}`;
  }
}
