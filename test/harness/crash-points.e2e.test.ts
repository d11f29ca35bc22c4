/** Crash points that no fault point of one brain shows: other processes, several operations, several brains. */
import type { SessionEvent } from "@manyhands/core";
import { findDockerEngine } from "@manyhands/local";
import { eventually } from "@manyhands/testkit";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Fleet, startFleet } from "../storm/fleet.ts";
import type { ServiceProcess } from "../support/service-process.ts";
import { createSession, isIdle, lastWords, logUntil, message, ofType, send } from "./bed.ts";

const bash = (command: string) => ({ tool_use: { name: "bash", input: { command } } });
const scenarios = [
  {
    name: "nap",
    priority: 50,
    match: { last_user_text: "\\bnap for (?<time>[0-9.]+)\\b" },
    steps: [
      { emit: [{ text: "I nap." }, bash("echo begun >> /workspace/naps; sleep {{match.time}}; echo napped")] },
      { emit: [bash("cat /workspace/naps 2>/dev/null | grep -c begun || true")] },
      { emit: [{ text: "Naps: {{tool_result}}" }] },
    ],
  },
  {
    name: "three",
    priority: 50,
    match: { last_user_text: "\\bthree at once\\b" },
    steps: [
      { emit: [bash("echo a; sleep 0.1"), bash("echo b; sleep 0.6"), bash("echo c; sleep 1.2")] },
      { emit: [{ text: "Three: {{tool_result}}" }] },
    ],
  },
  {
    name: "words",
    priority: 50,
    match: { last_user_text: "\\bwith care\\b" },
    tokens_per_second: 60,
    steps: [
      { emit: [{ text: "slowly does it ".repeat(4) }, bash("sleep 0.3; echo one")] },
      { emit: [{ text: "slowly does it ".repeat(4) }, bash("sleep 0.3; echo two")] },
      { emit: [{ text: "Done with care." }] },
    ],
  },
];

let fleet: Fleet;
const extra: ServiceProcess[] = [];

beforeAll(async () => {
  fleet = await startFleet({
    harnesses: 2,
    stores: 1,
    managers: 1,
    driver: "auto",
    handCapacity: 50,
    scenarios,
    env: { harness: { MH_ACK_WAIT_MS: "600" } },
    progress: () => undefined,
  });
});
afterAll(async () => {
  for (const process of extra.splice(0)) await process.end("SIGKILL");
  await fleet?.sandboxes.listHands({ pageSize: 200 }).then(
    ({ hands }) =>
      Promise.all(hands.map((hand) => fleet.sandboxes.release({ handId: hand.id }).catch(() => undefined))),
    () => undefined,
  );
  await fleet?.close();
});

const isIntent = (events: SessionEvent[]) => events.some((event) => event.type === "operation.dispatched");
const outcomes = (events: SessionEvent[]) => ofType(events, "agent.tool_result").map((event) => event.outcome);

function manager(): ServiceProcess {
  const [only] = fleet.managers;
  if (only === undefined) throw new Error("there is no manager");
  return only;
}

it("CP10: sandbox-manager dies before it accepts a call: the call runs once in the same hand, or not at all", async () => {
  const id = await createSession(fleet, "nap for 0");
  await logUntil(fleet, id, isIdle());
  manager().signal("SIGSTOP"); // from here on nothing is accepted
  await send(fleet, id, message("nap for 0.01"));
  const intents = (events: SessionEvent[]) => ofType(events, "operation.dispatched").length >= 3;
  await logUntil(fleet, id, intents);
  await manager().end("SIGKILL");
  await manager().start();
  const events = await logUntil(fleet, id, isIdle(2), 60_000);
  if (fleet.driver === "docker") expect(lastWords(events)).toBe("Naps: 2\n");
  expect(new Set(ofType(events, "operation.dispatched").map((event) => event.operation_id)).size).toBe(4);
  expect(outcomes(events)).toHaveLength(4);
});

it("CP15: all containers die at once: each session is told that the outcome is unknown, and goes on in a new hand", async () => {
  const ids = await Promise.all(["5", "5.1", "5.2"].map((time) => createSession(fleet, `nap for ${time}`)));
  await Promise.all(ids.map((id) => logUntil(fleet, id, isIntent)));
  const { hands } = await fleet.sandboxes.listHands({ pageSize: 200 });
  await eventually(async () => (await running(ids)) === ids.length, { timeoutMs: 10_000 });
  await killAll(hands.filter((hand) => ids.includes(hand.sessionId)).map((hand) => hand.id));
  for (const id of ids) {
    const events = await logUntil(fleet, id, isIdle(), 60_000);
    expect(outcomes(events)).toEqual(["UNKNOWN", "COMPLETED"]);
    expect(lastWords(events)).toBe("Naps: 0\n");
    expect(ofType(events, "hand.lost")).toHaveLength(1);
    expect(ofType(events, "hand.provisioned").map((event) => event.generation)).toEqual([1, 2]);
  }
});

it("CP23: an interrupt around the command's end leaves one result and an idle session, whichever came first", async () => {
  const delays = [300, 380, 420, 440, 460, 500];
  const ids = await Promise.all(delays.map(() => createSession(fleet, "nap for 0.4")));
  await Promise.all(
    ids.map(async (id, at) => {
      const events = await logUntil(fleet, id, isIntent);
      const begunAt = ofType(events, "operation.dispatched")[0]?.at ?? 0;
      await eventually(() => Date.now() - begunAt >= (delays[at] ?? 0), { timeoutMs: 5_000, everyMs: 2 });
      await send(fleet, id, { id: `sevt_interrupt${at}${id.slice(5)}`, type: "user.interrupt" });
    }),
  );
  for (const id of ids) {
    const interrupted = (events: SessionEvent[]) => events.some((event) => event.type === "user.interrupt");
    const events = await logUntil(fleet, id, (log) => isIdle()(log) && interrupted(log));
    const uses = ofType(events, "agent.tool_use").map((event) => event.id);
    const results = ofType(events, "agent.tool_result").map((event) => event.tool_use_id);
    expect(results.sort()).toEqual(uses.sort());
  }
});

it("CP24: a brain dies with one of three results stored: the others are followed, and the model sees all in order", async () => {
  for (const harness of fleet.harnesses) await harness.end("SIGTERM");
  const doomed = await fleet.addHarness({ MH_ACK_WAIT_MS: "600", MH_FAULT_POINT: "after_result_append" });
  await doomed.start();
  const id = await createSession(fleet, "three at once");
  const one = (events: SessionEvent[]) => ofType(events, "agent.tool_result").length === 1;
  await logUntil(fleet, id, one);
  await Promise.all(fleet.harnesses.map((harness) => harness.start()));
  const events = await logUntil(fleet, id, isIdle());
  expect(lastWords(events)).toBe("Three: a\n\nb\n\nc\n");
  expect(ofType(events, "operation.dispatched")).toHaveLength(3);
  expect(ofType(events, "agent.tool_result")).toHaveLength(3);
  expect(ofType(events, "brain.woken")).toHaveLength(2);
  expect(ofType(events, "span.model_request_start")).toHaveLength(2);
});

it("CP29: a session deleted during a call takes nothing more, and its brain lets go", async () => {
  const id = await createSession(fleet, "nap for 3");
  await logUntil(fleet, id, isIntent);
  await eventually(async () => (await running([id])) === 1, { timeoutMs: 10_000 });
  const workspaceId = "wrkspc_test";
  const refused = await fleet.sessions.deleteSession({ workspaceId, sessionId: id }).then(
    () => "",
    (error: { reason?: string }) => error.reason ?? "",
  );
  if (refused !== "") {
    expect(refused).toBe("SESSION_RUNNING"); // first its turn must end
    await send(fleet, id, { id: `sevt_stop${id.slice(5)}`, type: "user.interrupt" });
    await logUntil(fleet, id, isIdle());
    await fleet.sessions.deleteSession({ workspaceId, sessionId: id });
  }
  await expect(fleet.sessions.getSession({ workspaceId, sessionId: id })).rejects.toMatchObject({ kind: "notFound" });
  await expect(send(fleet, id, message("more"))).rejects.toMatchObject({ kind: "notFound" });
  const next = await createSession(fleet, "nap for 0");
  expect(lastWords(await logUntil(fleet, next, isIdle()))).toBe("Naps: 1\n");
});

it("a rolling restart of all brains under load interrupts no turn", async () => {
  const count = 8;
  const ids = await Promise.all(Array.from({ length: count }, () => createSession(fleet, "with care")));
  await Promise.all(ids.slice(0, 2).map((id) => logUntil(fleet, id, (log) => ofType(log, "brain.woken").length > 0)));
  const begun = [...fleet.harnesses];
  for (const harness of begun) {
    await harness.end("SIGTERM");
    await harness.start();
  }
  const logs = await Promise.all(ids.map((id) => logUntil(fleet, id, isIdle(), 60_000)));
  for (const events of logs) {
    expect(lastWords(events)).toBe("Done with care.");
    expect(ofType(events, "session.status_idle").map((event) => event.stop_reason.type)).toEqual(["end_turn"]);
    expect(ofType(events, "span.model_request_end").map((event) => event.is_error)).toEqual([false, false, false]);
    expect(outcomes(events)).toEqual(["COMPLETED", "COMPLETED"]);
  }
  expect(logs.flatMap((events) => ofType(events, "brain.released")).length).toBeGreaterThan(0);
});

it("a brain drives no more sessions at once than it may, of all kinds together, each kind in the order they asked", async () => {
  await startOnly({ MH_CONCURRENCY: "2", MH_CHEAP_MODEL: "demo-small" });
  const kinds = ["default", "cheap-first"];
  const ids: string[] = [];
  for (let n = 0; n < 6; n += 1) ids.push(await createAs(kinds[n % 2] ?? "", "nap for 0.3"));
  const logs = await Promise.all(ids.map((id) => logUntil(fleet, id, isIdle(), 30_000)));
  const spans = logs.map((events) => ({
    from: ofType(events, "brain.woken")[0]?.at ?? 0,
    to: ofType(events, "session.status_idle")[0]?.at ?? 0,
  }));
  for (const { from } of spans) {
    expect(spans.filter((other) => other.from < from && other.to > from).length).toBeLessThan(2);
  }
  for (const [at, kind] of kinds.entries()) {
    const begun = spans.filter((_, n) => n % 2 === at).map(({ from }) => from);
    expect(begun, kind).toEqual(begun.toSorted((one, other) => one - other));
  }
});

it("a session with a long turn makes room for those that wait, and goes on behind them: its operation runs once", async () => {
  await startOnly({ MH_CONCURRENCY: "1", MH_SLICE_MS: "1500" });
  const long = await createSession(fleet, "nap for 3");
  await logUntil(fleet, long, isIntent);
  const short = await createSession(fleet, "nap for 0");
  const served = await logUntil(fleet, short, isIdle(), 30_000);
  const events = await logUntil(fleet, long, isIdle(), 30_000);
  const endOf = (log: SessionEvent[]) => ofType(log, "session.status_idle")[0]?.at ?? 0;
  expect(endOf(served)).toBeLessThan(endOf(events));
  expect(ofType(events, "brain.released").length).toBeGreaterThan(0);
  expect(lastWords(events)).toBe("Naps: 1\n");
  expect(outcomes(events)).toEqual(["COMPLETED", "COMPLETED"]);
  expect(ofType(events, "session.error")).toEqual([]);
});

it("an interrupt reaches a session at once that waits in the queue with its operation running", async () => {
  const waits = await createSession(fleet, "nap for 30");
  await logUntil(fleet, waits, isIntent);
  const drives = await createSession(fleet, "nap for 30.1");
  await logUntil(fleet, drives, isIntent);
  await logUntil(fleet, waits, (events) => events.at(-1)?.type === "brain.released");
  await send(fleet, waits, { id: `sevt_now${waits.slice(5)}`, type: "user.interrupt" });
  const events = await logUntil(fleet, waits, isIdle());
  expect(ofType(events, "session.status_idle")[0]?.stop_reason.type).toBe("end_turn");
  expect(outcomes(events)).toEqual(["KILLED"]);
  await send(fleet, drives, { id: `sevt_now${drives.slice(5)}`, type: "user.interrupt" });
  const later = await logUntil(fleet, drives, isIdle());
  const keptUntil = ofType(later, "brain.released")[0]?.at ?? Number.POSITIVE_INFINITY;
  expect(ofType(events, "session.status_idle")[0]?.at).toBeLessThan(keptUntil);
});

/** Ends all brains, and starts one of its own settings. */
async function startOnly(env: Readonly<Record<string, string>>): Promise<void> {
  for (const harness of [...fleet.harnesses, ...extra]) await harness.end("SIGTERM");
  const alone = await fleet.addHarness(env);
  extra.push(alone);
  await alone.start();
}

function createAs(harnessKind: string, text: string): Promise<string> {
  return createSession(fleet, text, {}, "", {}, undefined, undefined, harnessKind);
}

/** How many of the sessions have an operation that runs in its hand. */
async function running(ids: readonly string[]): Promise<number> {
  const begun = await Promise.all(
    ids.map(async (id) => {
      const events = await logUntil(fleet, id, () => true);
      const [intent] = ofType(events, "operation.dispatched");
      const epoch = BigInt(Math.max(...events.map((event) => event.epoch)));
      const call = { handId: intent?.hand_id ?? "", operationId: intent?.operation_id ?? "", fromOffset: 0n, epoch };
      for await (const { item } of fleet.sandboxes.attach(call)) return item.case === "started";
      return false;
    }),
  );
  return begun.filter(Boolean).length;
}

/** Virtual hands die with their manager, containers by a kill behind everyone's back. */
async function killAll(handIds: readonly string[]): Promise<void> {
  const engine = await findDockerEngine();
  if (fleet.driver === "virtual" || !engine.answers) {
    await manager().end("SIGKILL");
    await manager().start();
    return;
  }
  const found = await Promise.all(
    handIds.map((id) => engine.docker.listContainers({ filters: { label: [`dev.manyhands.hand=${id}`] } })),
  );
  await Promise.all(found.flat().map((one) => engine.docker.getContainer(one.Id).kill()));
}
