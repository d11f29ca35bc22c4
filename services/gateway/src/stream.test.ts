import { get, type IncomingMessage } from "node:http";
import { accumulateManagedAgentsEvent } from "@anthropic-ai/sdk/lib/sessions/accumulate";
import type { BetaManagedAgentsStreamSessionEvents } from "@anthropic-ai/sdk/resources/beta/sessions/events";
import { create } from "@bufbuild/protobuf";
import type { NewEvent } from "@manyhands/core";
import { type Delta, DeltaSchema } from "@manyhands/protocol";
import { eventually } from "@manyhands/testkit";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type GatewayHarness, makeSession, startGatewayHarness, testKeys } from "./testing/gateway-harness.ts";

let gateway: GatewayHarness;
beforeEach(async () => {
  gateway = await startGatewayHarness({ streamPingMs: 100, streamStallMs: 500, streamsPerWorkspace: 3 });
});
afterEach(() => gateway.stop());

const text = (value: string) => [{ type: "text" as const, text: value }];
const message = (id: string, value: string): NewEvent => ({ id, type: "agent.message", content: text(value) });
const idle = (id: string): NewEvent => ({ id, type: "session.status_idle", stop_reason: { type: "end_turn" } });
const start = (eventId: string, eventType = "agent.message"): Delta =>
  create(DeltaSchema, { eventId, eventType, kind: { case: "start", value: {} } });
const more = (eventId: string, index: number, value: string, eventType = "agent.message"): Delta =>
  create(DeltaSchema, { eventId, eventType, kind: { case: "text", value: { index, text: value } } });

/** A raw reader: what is really on the wire. */
function openRaw(sessionId: string, headers: Record<string, string> = {}, query = ""): Promise<IncomingMessage> {
  const url = `${gateway.url}/v1/sessions/${sessionId}/events/stream${query}`;
  return new Promise((resolve, reject) => {
    get(url, { headers: { authorization: `Bearer ${testKeys.acme}`, ...headers } }, resolve).on("error", reject);
  });
}

/** Reads until the text holds what is waited for, or the stream ends. */
async function readUntil(response: IncomingMessage, part: string): Promise<string> {
  let seen = "";
  for await (const chunk of response) {
    seen += String(chunk);
    if (seen.includes(part)) break;
  }
  return seen;
}

const watching = (count = 1) => eventually(() => gateway.backend.sessions.watchers() >= count);

test("stream first, then send: the whole turn arrives with the ids of the answer and the list, idle last", async () => {
  const client = gateway.client();
  const { session } = await makeSession(client);
  const stream = await client.beta.sessions.events.stream(session.id);
  const sent = await client.beta.sessions.events.send(session.id, {
    events: [{ type: "user.message", content: text("Hello") }],
  });
  gateway.backend.sessions.emit(session.id, [
    {
      id: "sevt_woken",
      type: "brain.woken",
      epoch: 1,
      harness_kind: "default",
      harness_version: "1",
      instance_id: "i",
    },
    { id: "sevt_run", type: "session.status_running" },
    { id: "sevt_think", type: "agent.thinking", thinking: "my secret thought", signature: "sig", redacted_data: "" },
    message("sevt_answer", "Hi"),
    idle("sevt_idle"),
  ]);
  const seen: BetaManagedAgentsStreamSessionEvents[] = [];
  for await (const event of stream) {
    seen.push(event);
    if (event.type === "session.status_idle") break;
  }
  const ids = seen.map((event) => ("id" in event ? event.id : ""));
  expect(ids).toEqual([sent.data?.[0]?.id, "sevt_run", "sevt_think", "sevt_answer", "sevt_idle"]);
  expect(JSON.stringify(seen)).not.toContain("my secret thought");
  expect(seen.at(-1)).toMatchObject({ stop_reason: { type: "end_turn" }, stop_details: null });
  const listed = await client.beta.sessions.events.list(session.id);
  expect(listed.data.map((event) => event.id)).toEqual(ids);
  expect(listed.data).toEqual(seen);
});

test("the headers come at once, and frames have event, id and data lines", async () => {
  const { session } = await makeSession(gateway.client());
  const response = await openRaw(session.id, { accept: "application/json" });
  expect(response.statusCode).toBe(200);
  expect(response.headers).toMatchObject({
    "content-type": "text/event-stream; charset=utf-8",
    "request-id": expect.stringMatching(/^req_/),
  });
  gateway.backend.sessions.emit(session.id, [message("sevt_1", "line\nbreak")]);
  const wire = await readUntil(response, "\n\n");
  const frame = wire.split("\n\n").find((part) => part.includes("sevt_1")) ?? "";
  const lines = frame.split("\n");
  expect(lines.slice(0, 2)).toEqual(["event: agent.message", "id: sevt_1"]);
  expect(JSON.parse(lines[2]?.replace("data: ", "") ?? "")).toMatchObject({
    id: "sevt_1",
    content: text("line\nbreak"),
  });
  response.destroy();
});

test("a quiet stream pings, and the official client does not show pings", async () => {
  const client = gateway.client();
  const { session } = await makeSession(client);
  const raw = await openRaw(session.id);
  expect(await readUntil(raw, 'event: ping\ndata: {"type":"ping"}\n\n')).toContain("event: ping");
  raw.destroy();
});

test("Last-Event-ID resumes after that event, and an unknown one is 404 before any header of a stream", async () => {
  const { session } = await makeSession(gateway.client());
  gateway.backend.sessions.emit(session.id, [message("sevt_a", "a"), message("sevt_b", "b"), message("sevt_c", "c")]);
  const response = await openRaw(session.id, { "last-event-id": "sevt_a" });
  const wire = await readUntil(response, "sevt_c");
  expect(wire).not.toContain("sevt_a");
  expect(wire.indexOf("sevt_b")).toBeLessThan(wire.indexOf("sevt_c"));
  response.destroy();
  const unknown = await openRaw(session.id, { "last-event-id": "sevt_never" });
  expect(unknown.statusCode).toBe(404);
  unknown.destroy();
  const noSession = await openRaw("sesn_never");
  expect(noSession.statusCode).toBe(404);
  noSession.destroy();
});

test("platform events come only when asked for", async () => {
  const { session } = await makeSession(gateway.client());
  gateway.backend.sessions.emit(session.id, [
    { id: "sevt_lost", type: "hand.lost", hand_id: "hand_1", reason: "oom" },
    { id: "sevt_result", type: "agent.tool_result", tool_use_id: "sevt_use", outcome: "KILLED", hand_id: "hand_1" },
  ]);
  const list = async (query: string) => (await gateway.fetch(`/v1/sessions/${session.id}/events${query}`)).json();
  expect(await list("")).toMatchObject({ data: [{ id: "sevt_result", type: "agent.tool_result" }] });
  expect(JSON.stringify(await list(""))).not.toContain("hand_1");
  expect(await list("?x_include_platform=true")).toMatchObject({
    data: [
      { type: "hand.lost", hand_id: "hand_1", x_manyhands: { position: 0, epoch: 0 } },
      { type: "agent.tool_result", x_manyhands: { position: 1, outcome: "KILLED", hand_id: "hand_1" } },
    ],
  });
});

test("deltas fold in the official accumulator to the final message, whatever arrives in between", async () => {
  const client = gateway.client();
  const { session } = await makeSession(client);
  const stream = await client.beta.sessions.events.stream(session.id, {
    event_deltas: ["agent.message", "agent.thinking"],
  });
  await watching();
  const { sessions } = gateway.backend;
  sessions.delta(session.id, more("sevt_old", 0, "joined in the middle"));
  sessions.delta(session.id, start("sevt_think", "agent.thinking"));
  sessions.delta(session.id, more("sevt_think", 0, "a thought", "agent.thinking"));
  for (const delta of [
    start("sevt_m"),
    start("sevt_m"),
    more("sevt_m", 0, "Hel"),
    more("sevt_m", 0, "lo"),
    more("sevt_m", 1, "!"),
  ]) {
    sessions.delta(session.id, delta);
  }
  sessions.emit(session.id, [{ id: "sevt_m", type: "agent.message", content: [...text("Hello"), ...text("!")] }]);
  sessions.delta(session.id, more("sevt_m", 0, "too late"));
  sessions.delta(session.id, start("sevt_gap"));
  sessions.delta(session.id, more("sevt_gap", 3, "beyond the end"));
  sessions.emit(session.id, [idle("sevt_idle")]);
  const seen: string[] = [];
  let folded: ReturnType<typeof accumulateManagedAgentsEvent>;
  let preview = "";
  for await (const event of stream) {
    seen.push(event.type);
    folded = accumulateManagedAgentsEvent(folded, event);
    if (event.type === "event_delta")
      preview = (folded?.content ?? []).map((block) => ("text" in block ? block.text : "")).join("");
    if (event.type === "session.status_idle") break;
  }
  expect(seen).toEqual([
    "event_start",
    "event_start",
    "event_delta",
    "event_delta",
    "event_delta",
    "agent.message",
    "event_start",
    "session.status_idle",
  ]);
  expect(preview).toBe("Hello!");
});

test("a connection that did not ask gets no deltas", async () => {
  const { session } = await makeSession(gateway.client());
  const response = await openRaw(session.id);
  await watching();
  gateway.backend.sessions.delta(session.id, start("sevt_m"));
  gateway.backend.sessions.emit(session.id, [message("sevt_m", "x")]);
  expect(await readUntil(response, "sevt_m")).not.toContain("event_start");
  response.destroy();
});

test("a restart of session-store costs the reader nothing", async () => {
  const client = gateway.client();
  const { session } = await makeSession(client);
  const stream = await client.beta.sessions.events.stream(session.id);
  await watching();
  gateway.backend.sessions.emit(session.id, [message("sevt_1", "before")]);
  gateway.backend.sessions.breakWatches();
  gateway.backend.sessions.emit(session.id, [message("sevt_2", "between"), message("sevt_3", "after")]);
  const seen: string[] = [];
  for await (const event of stream) {
    seen.push("id" in event ? event.id : event.type);
    if (seen.length === 3) break;
  }
  expect(seen).toEqual(["sevt_1", "sevt_2", "sevt_3"]);
});

test("session.deleted ends the stream", async () => {
  const client = gateway.client();
  const { session } = await makeSession(client);
  const stream = await client.beta.sessions.events.stream(session.id);
  gateway.backend.sessions.emit(session.id, [{ id: "sevt_gone", type: "session.deleted" }]);
  const seen: string[] = [];
  for await (const event of stream) seen.push(event.type);
  expect(seen).toEqual(["session.deleted"]);
});

test("a stop ends open streams cleanly and soon", async () => {
  const client = gateway.client();
  const { session } = await makeSession(client);
  const stream = await client.beta.sessions.events.stream(session.id);
  await watching();
  const stopped = gateway.stopGateway();
  const seen: string[] = [];
  for await (const event of stream) seen.push(event.type);
  expect(seen).toEqual([]);
  expect(await stopped).toMatchObject({ failed: [] });
});

test("streams are bounded, and a closed one makes room", async () => {
  const { session } = await makeSession(gateway.client());
  const open = await Promise.all([1, 2, 3].map(() => openRaw(session.id)));
  const refused = await openRaw(session.id);
  expect(refused.statusCode).toBe(429);
  expect(refused.headers["retry-after"]).toBeDefined();
  refused.destroy();
  open[0]?.destroy();
  const next = await eventually(async () => {
    const response = await openRaw(session.id);
    if (response.statusCode === 200) return response;
    response.destroy();
    return undefined;
  });
  for (const response of [...open, next]) response.destroy();
});

test("a reader that takes nothing is dropped, and its watch ends", async () => {
  const { session } = await makeSession(gateway.client());
  const response = await openRaw(session.id);
  response.pause();
  await watching();
  const big = "x".repeat(256 * 1024);
  gateway.backend.sessions.emit(
    session.id,
    Array.from({ length: 60 }, (_, index) => message(`sevt_${index}`, big)),
  );
  await eventually(() => gateway.backend.sessions.watchers() === 0, { timeoutMs: 10_000 });
  response.destroy();
});
