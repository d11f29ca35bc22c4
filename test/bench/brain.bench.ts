/**
 * What the brain promises in figures: an interrupt while a tool runs, the next brain after a SIGKILL, a session of a
 * thousand model requests, and two thousand sessions that wait for their users. The floor of a row is its bar.
 */
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { create } from "@bufbuild/protobuf";
import type { SessionEvent } from "@manyhands/core";
import { newId } from "@manyhands/kit";
import type { BenchReport } from "@manyhands/local";
import { decodeEvent, GetEventsRequestSchema } from "@manyhands/protocol";
import { eventually } from "@manyhands/testkit";
import { percentile } from "../durability/support/rig.ts";
import { createSession, logUntil, ofType, send } from "../harness/bed.ts";
import { type Fleet, startFleet } from "../storm/fleet.ts";
import { stormScenario } from "../storm/scenario.ts";
import type { ServiceProcess } from "../support/service-process.ts";
import { startToolModel, type ToolPlan } from "./support/tool-model.ts";

const interrupts = 12;
const kills = 6;
const sessionsPerKill = 4;
const modelCalls = 1_000;
const resultBytes = 5_000;
/** Request, tool use, end, intent, result. */
const eventsPerCall = 5;
const waiting = 2_000;
const warmUp = 300;
const atOnce = 8;
const maxPages = 100;

/** Bars, as the rows name them. */
const bars = { interrupt_p95: 1_000, takeover_p95: 1_500, long_session_slope: 1.3, waiting_rss_mb: 20 };

type Row = BenchReport["rows"][number];

/** Runs all four. */
export default async function bench({ rounds }: { rounds: number }): Promise<BenchReport> {
  const plans: ToolPlan[] = [
    { text: /long \w+/, calls: modelCalls, input: { command: "cat /workspace/big" } },
    { text: /prepare \w+/, calls: 1, input: { command: bigFile } },
    { text: /wait \w+/, calls: 1, input: { command: "true" } },
    { text: /quick \w+/, calls: 1, input: { command: "true" } },
    { text: /sleep \w+/, calls: 1, input: { command: "sleep 30" } },
  ];
  const model = await startToolModel(plans);
  const fleet = await startFleet({
    harnesses: 2,
    stores: 1,
    managers: 1,
    driver: "virtual",
    handCapacity: 900,
    scenarios: [stormScenario],
    modelUrl: model.url,
    env: { harness: { MH_MAX_ITERATIONS: "2000", MH_MAX_TOOL_CALLS: "5000" } },
    progress: () => undefined,
  });
  try {
    const rows = [
      await interruptRow(fleet, interrupts * rounds),
      await takeoverRow(fleet, kills * rounds),
      await longSessionRow(fleet),
      await waitingRow(fleet),
    ];
    return { bench: "brain", rounds, rows };
  } finally {
    await fleet.close();
    await model.close();
  }
}

const bigFile = `i=0; while [ $i -lt 100 ]; do echo 0123456789012345678901234567890123456789012345678; i=$((i+1)); done > /workspace/big`;

function row(name: keyof typeof bars, unit: string, ours: number, note: string): Row {
  return { name, unit, ours, floor: bars[name], ratio: ours / bars[name], note: `${note}; floor: the bar` };
}

const isRunning = (events: SessionEvent[]) => events.some((event) => event.type === "operation.dispatched");
const isOver = (events: SessionEvent[]) => events.some((event) => event.type === "session.status_idle");

/** From the moment the interrupt is sent to the idle event's time in the log. */
async function interruptRow(fleet: Fleet, count: number): Promise<Row> {
  const samples: number[] = [];
  await inTurns(count, 2, async () => {
    const id = await createSession(fleet, `sleep ${newId("n").slice(2)}`);
    await logUntil(fleet, id, isRunning);
    const sentAt = Date.now();
    await send(fleet, id, { id: newId("sevt"), type: "user.interrupt" });
    const events = await logUntil(fleet, id, isOver);
    samples.push((ofType(events, "session.status_idle")[0]?.at ?? 0) - sentAt);
    await release(fleet, id);
  });
  return row("interrupt_p95", "ms", percentile(samples, 0.95), `interrupt to idle with a tool running, ${count} times`);
}

/** From a SIGKILL to the first event of the next brain, for every session that the killed one drove. */
async function takeoverRow(fleet: Fleet, count: number): Promise<Row> {
  const samples: number[] = [];
  for (let n = 0; n < count; n += 1) {
    const ids = await Promise.all(
      Array.from({ length: sessionsPerKill }, () => createSession(fleet, `sleep ${newId("n").slice(2)}`)),
    );
    const logs = await Promise.all(ids.map((id) => logUntil(fleet, id, isRunning)));
    const owners = logs.map((events) => ofType(events, "brain.woken")[0]?.instance_id ?? "");
    const victim = fleet.harnesses.find(({ instanceId }) => instanceId === owners[0]);
    if (victim === undefined) throw new Error(`no harness is ${owners[0]}`);
    const driven = ids.filter((_, at) => owners[at] === victim.instanceId);
    const killedAt = Date.now();
    await victim.end("SIGKILL");
    for (const id of driven) {
      const events = await logUntil(fleet, id, (one) => ofType(one, "brain.woken").length > 1);
      samples.push((ofType(events, "brain.woken")[1]?.at ?? 0) - killedAt);
    }
    await victim.start();
    for (const id of ids) {
      await send(fleet, id, { id: newId("sevt"), type: "user.interrupt" });
      await logUntil(fleet, id, isOver);
      await release(fleet, id);
    }
  }
  return row(
    "takeover_p95",
    "ms",
    percentile(samples, 0.95),
    `SIGKILL to the next brain's first event, ${samples.length} sessions`,
  );
}

/** Time per turn, and the brain's memory, at the end of a very long turn against its beginning. */
async function longSessionRow(fleet: Fleet): Promise<Row> {
  const [alone, other] = fleet.harnesses;
  if (alone === undefined || other === undefined) throw new Error("there are two harnesses");
  await other.end("SIGTERM");
  const name = newId("n").slice(2);
  const metadata = { "manyhands.context": "window" };
  const id = await createSession(fleet, `prepare ${name}`, {}, "", metadata);
  await logUntil(fleet, id, isOver);
  const begun = {
    id: newId("sevt"),
    type: "user.message" as const,
    content: [{ type: "text" as const, text: `long ${name}` }],
  };
  await send(fleet, id, begun);
  const tenth = modelCalls / 10;
  const waits = { timeoutMs: 180_000, everyMs: 200 };
  await eventually(async () => (await headOf(fleet, id)) > tenth * eventsPerCall, waits);
  const rssAtFirst = rssMb(alone);
  await eventually(() => isAtRest(fleet, id), waits);
  const rssAtEnd = rssMb(alone);
  const events = await wholeLog(fleet, id);
  const at = ofType(events, "span.model_request_start")
    .slice(-modelCalls)
    .map((event) => event.at);
  const spent = (from: number) => ((at[from + tenth - 1] ?? 0) - (at[from] ?? 0)) / (tenth - 1);
  const [first, last] = [spent(0), spent(modelCalls - tenth)];
  await other.start();
  await release(fleet, id);
  const note = `${modelCalls} model requests with results of ${resultBytes} bytes: ${first.toFixed(1)} ms each at first, ${last.toFixed(1)} ms at the end; RSS ${rssAtFirst.toFixed(0)} to ${rssAtEnd.toFixed(0)} MB`;
  return row("long_session_slope", "x", last / first, note);
}

/** Looks at the end of the log alone: watching must not be what is measured. */
async function isAtRest(fleet: Fleet, id: string): Promise<boolean> {
  const slice = { case: "last" as const, value: 4 };
  const { events } = await fleet.sessions.getEvents({ sessionId: id, slice, includePlatform: true });
  return events.some((event) => event.type === "session.status_idle");
}

async function headOf(fleet: Fleet, sessionId: string): Promise<number> {
  const { session } = await fleet.sessions.getSession({ workspaceId: "wrkspc_test", sessionId });
  return Number(session?.headPosition ?? 0);
}

async function wholeLog(fleet: Fleet, id: string): Promise<SessionEvent[]> {
  const events: SessionEvent[] = [];
  const request = create(GetEventsRequestSchema, { sessionId: id, includePlatform: true, pageSize: 1000 });
  for (let page = 0; page < maxPages; page += 1) {
    const answer = await fleet.sessions.getEvents(request);
    events.push(...answer.events.map(decodeEvent).filter((one): one is SessionEvent => !("unknown" in one)));
    if (answer.nextPageToken === "") return events;
    request.pageToken = answer.nextPageToken;
  }
  throw new Error("the log has no end");
}

/** Memory of the brain that brought so many sessions to their question, over the same after a warm-up. */
async function waitingRow(fleet: Fleet): Promise<Row> {
  const [alone, other] = fleet.harnesses;
  if (alone === undefined || other === undefined) throw new Error("there are two harnesses");
  await other.end("SIGTERM");
  const begin = async () => {
    const tools = [{ type: "agent_toolset_20260401", default_config: { permission_policy: { type: "always_ask" } } }];
    const id = await createSession(fleet, `wait ${newId("n").slice(2)}`, { tools });
    await logUntil(fleet, id, isOver, 60_000);
  };
  await inTurns(warmUp, atOnce, begin);
  const before = await restingRssMb(alone);
  await inTurns(waiting, atOnce, begin);
  const after = await restingRssMb(alone);
  await other.start();
  const note = `RSS of the brain after ${waiting} sessions that wait for a confirmation: ${before.toFixed(0)} to ${after.toFixed(0)} MB`;
  return row("waiting_rss_mb", "MB", Math.max(0, after - before), note);
}

/** The least of some looks: once nothing is to be done, the brain gives back what its turns needed for a moment. */
async function restingRssMb(process: ServiceProcess): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let look = 0; look < 60; look += 1) {
    least = Math.min(least, rssMb(process));
    await sleep(250);
  }
  return least;
}

function rssMb(process: ServiceProcess): number {
  const status = readFileSync(`/proc/${process.pid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024;
}

async function release(fleet: Fleet, sessionId: string): Promise<void> {
  await fleet.sandboxes.release({ sessionId, reason: "session_end" });
}

async function inTurns(count: number, width: number, work: () => Promise<void>): Promise<void> {
  let left = count;
  const worker = async () => {
    while (left > 0) {
      left -= 1;
      await work();
    }
  };
  await Promise.all(Array.from({ length: width }, worker));
}
