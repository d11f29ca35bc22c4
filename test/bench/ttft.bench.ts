/**
 * Platform-added time to first token: from the moment the bytes of a POST …/events are given to the socket to the arrival
 * of the whole model request at the model server, through every real hop (gateway, session-store, NATS, harness,
 * vault-proxy). The connection to the gateway is open already; the client's library is outside the figure. `warm`: the
 * brain has just driven this session. `cold`: a brain that has never seen the session, with 100 events of history. The
 * floor is one acknowledged raw JetStream publish on the same server with the same durability, interleaved with the
 * measurements. The `reduction` rows compare the time until a client has the first token with that of the coupled design.
 */
import { Agent, request } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import Anthropic from "@anthropic-ai/sdk";
import { create } from "@bufbuild/protobuf";
import type { NewEvent } from "@manyhands/core";
import { createRpcClient } from "@manyhands/kit";
import { type BenchReport, type Platform, startPlatform } from "@manyhands/local";
import { EmitEventsRequestSchema, encodeEvent, SessionService } from "@manyhands/protocol";
import { prepareCoupledStart } from "./support/coupled-start.ts";
import { connectFloor, type Floor } from "./support/floor.ts";
import { type ModelThread, sharedNowMs, startModelThread } from "./support/model-thread.ts";
import type { Row } from "./support/rows.ts";
import { median, percentile } from "./support/statistics.ts";

const perRound = 20;
const historyEvents = 100;
const arrivalMs = 10_000;
const pollMs = 5;
const modelLatenciesMs = [50, 300, 1000];
const coupledPerRound = 5;
/** Published reductions of the time to the first token, in percent. */
const published = { p50: 60, p95: 90 };

interface Rig {
  platform: Platform;
  model: ModelThread;
  client: Anthropic;
  floor: Floor;
  agentId: string;
  environmentId: string;
}

/** Runs the benchmark. */
export default async function ttft({ rounds }: { rounds: number }): Promise<BenchReport> {
  const model = await startModelThread();
  const platform = await startPlatform({ handDriver: "virtual", model: { url: model.url, key: "bench" } });
  const floor = await connectFloor(platform.devJson.nats_url);
  const client = new Anthropic({
    baseURL: platform.devJson.gateway_url,
    apiKey: platform.devJson.api_key,
    maxRetries: 0,
  });
  try {
    const agent = await client.beta.agents.create({ name: "bench", model: "claude-sonnet-5-5" });
    const environment = await client.beta.environments.create({ name: "bench", config: { type: "cloud" } });
    const rig = { platform, model, client, floor, agentId: agent.id, environmentId: environment.id };
    const results = { warm: [] as number[], cold: [] as number[], floor: [] as number[] };
    for (let round = 0; round < rounds; round++) {
      await measureWarm(rig, results.warm, results.floor);
      await measureCold(rig, results.cold, results.floor);
    }
    return { bench: "ttft", rounds, rows: [...addedRows(results), ...(await reductionRows(rig, rounds))] };
  } finally {
    await floor.close();
    await platform.stop();
    await model.close();
  }
}

async function measureWarm(rig: Rig, ours: number[], floor: number[]): Promise<void> {
  const sessionId = await newSession(rig);
  for (let i = 0; i < perRound + 3; i++) {
    const floorMs = await rig.floor.publish();
    const addedMs = await addedTime(rig, sessionId);
    await idle(rig, sessionId);
    if (i < 3) continue; // the first ones load code and open connections
    floor.push(floorMs);
    ours.push(addedMs);
  }
}

async function measureCold(rig: Rig, ours: number[], floor: number[]): Promise<void> {
  const sessions: string[] = [];
  for (let i = 0; i < perRound + 3; i++) sessions.push(await sessionWithHistory(rig));
  await rig.platform.restart("harness", 1);
  await rig.platform.whenReady("harness", 1);
  for (const [index, sessionId] of sessions.entries()) {
    const floorMs = await rig.floor.publish();
    const addedMs = await addedTime(rig, sessionId);
    await idle(rig, sessionId);
    if (index < 3) continue; // a process that has just started loads code
    floor.push(floorMs);
    ours.push(addedMs);
  }
}

/** Milliseconds from giving the POST's bytes to the socket to the model request's arrival at the model server. */
async function addedTime(rig: Rig, sessionId: string): Promise<number> {
  const next = rig.model.next(arrivalMs);
  const { sentMs, answered } = post(rig, sessionId);
  const arrivedMs = await next;
  await answered;
  return arrivedMs - sentMs;
}

const agent = new Agent({ keepAlive: true });
const message = JSON.stringify({ events: [{ type: "user.message", content: [{ type: "text", text: "hello" }] }] });

function post(rig: Rig, sessionId: string): { sentMs: number; answered: Promise<void> } {
  const { gateway_url, api_key } = rig.platform.devJson;
  const headers = {
    authorization: `Bearer ${api_key}`,
    "content-type": "application/json",
    "content-length": Buffer.byteLength(message),
  };
  const url = `${gateway_url}/v1/sessions/${sessionId}/events`;
  const { promise: answered, resolve, reject } = Promise.withResolvers<void>();
  const outgoing = request(url, { method: "POST", agent, headers }, (answer) => {
    answer.resume();
    answer.once("end", () => {
      if (answer.statusCode === 200) resolve();
      else reject(new Error(`sending an event was answered with ${answer.statusCode}`));
    });
  });
  outgoing.once("error", reject);
  const sentMs = sharedNowMs();
  outgoing.end(message);
  return { sentMs, answered };
}

async function idle(rig: Rig, sessionId: string): Promise<void> {
  const deadline = performance.now() + arrivalMs;
  while (performance.now() < deadline) {
    if ((await rig.client.beta.sessions.retrieve(sessionId)).status === "idle") return;
    await delay(pollMs);
  }
  throw new Error(`session ${sessionId} did not become idle within ${arrivalMs} ms`);
}

async function newSession(rig: Rig): Promise<string> {
  const session = await rig.client.beta.sessions.create({ agent: rig.agentId, environment_id: rig.environmentId });
  return session.id;
}

/** A session whose log has 100 events of finished turns that no brain of this run has driven. */
async function sessionWithHistory(rig: Rig): Promise<string> {
  const sessionId = await newSession(rig);
  const store = createRpcClient(SessionService, {
    address: rig.platform.devJson.grpc.session_store,
    defaultDeadlineMs: 10_000,
  });
  try {
    for (let turn = 0; turn < historyEvents / 5; turn++) {
      const events = turnEvents(`sevt_${sessionId}_${turn}`, 2 + turn * 5).map(encodeEvent);
      await store.emitEvents(create(EmitEventsRequestSchema, { sessionId, events }));
    }
  } finally {
    await store.close();
  }
  await idle(rig, sessionId);
  return sessionId;
}

/** One finished turn; `shown` is the position up to which its model request was shown the log. */
function turnEvents(id: string, shown: number): NewEvent[] {
  const usage = { input_tokens: 10, output_tokens: 5, cache_read_input_tokens: 0, cache_creation_input_tokens: 0 };
  return [
    { id: `${id}_0`, type: "user.message", content: [{ type: "text", text: "a question of the past" }] },
    {
      id: `${id}_1`,
      type: "span.model_request_start",
      model: "claude-sonnet-5-5",
      context_position: shown,
      attempt: 1,
    },
    { id: `${id}_2`, type: "agent.message", content: [{ type: "text", text: "an answer of the past" }] },
    {
      id: `${id}_3`,
      type: "span.model_request_end",
      model_request_start_id: `${id}_1`,
      is_error: false,
      model_usage: usage,
      stop_reason: "end_turn",
      time_to_first_token_ms: 1,
    },
    { id: `${id}_4`, type: "session.status_idle", stop_reason: { type: "end_turn" } },
  ];
}

function addedRows(results: { warm: number[]; cold: number[]; floor: number[] }): Row[] {
  const floor = median(results.floor);
  const row = (name: string, values: number[]) => ({
    name,
    unit: "ms p50",
    ours: median(values),
    floor,
    ratio: median(values) / floor,
    note: `p95 ${percentile(values, 0.95).toFixed(2)} ms, ${values.length} turns; floor: raw JetStream publish, sync always`,
  });
  return [row("added_warm", results.warm), row("added_cold", results.cold)];
}

/** Empty where there is no engine to start containers with. */
async function reductionRows(rig: Rig, rounds: number): Promise<Row[]> {
  const start = await prepareCoupledStart();
  if (start === undefined) return [];
  try {
    const rows: Row[] = [];
    await start.once(); // the first one reads the image
    for (const latencyMs of modelLatenciesMs) {
      const [ours, coupled]: [number[], number[]] = [[], []];
      rig.model.think(latencyMs);
      const sessionId = await newSession(rig);
      await firstToken(rig, sessionId);
      for (let i = 0; i < rounds * coupledPerRound; i++) {
        ours.push(await firstToken(rig, sessionId));
        coupled.push((await start.once()) + (await firstToken(rig, sessionId)));
      }
      rows.push(reduction("p50", 0.5, latencyMs, ours, coupled), reduction("p95", 0.95, latencyMs, ours, coupled));
    }
    return rows;
  } finally {
    await start.stop();
  }
}

function reduction(name: "p50" | "p95", share: number, latencyMs: number, ours: number[], coupled: number[]): Row {
  const [mine, theirs] = [percentile(ours, share), percentile(coupled, share)];
  const percent = 100 * (1 - mine / theirs);
  return {
    name: `reduction_${name}_${latencyMs}ms`,
    unit: "%",
    ours: percent,
    floor: published[name],
    ratio: percent / published[name],
    note: `first token after ${mine.toFixed(1)} ms, coupled ${theirs.toFixed(1)} ms, ${ours.length} turns each; floor: the published reduction`,
  };
}

/** Milliseconds from giving the POST's bytes to the socket to the first token at a client that follows the session. */
async function firstToken(rig: Rig, sessionId: string): Promise<number> {
  const stream = await rig.client.beta.sessions.events.stream(sessionId, { event_deltas: ["agent.message"] });
  const { sentMs, answered } = post(rig, sessionId);
  try {
    for await (const event of stream) {
      if (/^(event_start|event_delta|agent\.)/.test(event.type)) return sharedNowMs() - sentMs;
    }
    throw new Error(`the stream of ${sessionId} ended before the first token`);
  } finally {
    stream.controller.abort();
    await answered;
    await idle(rig, sessionId);
  }
}
