import type { SessionEvent } from "@manyhands/core";
import { faultPoints } from "@manyhands/harness";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import {
  type Bed,
  createSession,
  isIdle,
  lastWords,
  logUntil,
  message,
  ofType,
  type Process,
  send,
  startBed,
} from "./bed.ts";

/** A tool whose side effect shows in a file, and takes long enough to be caught in the middle. */
const nap = `
name: nap
priority: 50
match: { last_user_text: '\\bnap once\\b' }
steps:
  - emit: [{ text: "I nap." }, { tool_use: { name: bash, input: { command: "sleep 1.5; echo napped >> /workspace/naps" } } }]
  - emit: [{ text: "And count." }, { tool_use: { name: bash, input: { command: "wc -l < /workspace/naps" } } }]
  - emit: [{ text: "Naps: {{tool_result}}" }]
`;
/** Speaks slowly enough to be stopped in the middle. */
const slow = `
name: slow
priority: 50
match: { last_user_text: '\\bspeak slowly\\b' }
tokens_per_second: 20
steps:
  - emit: [{ text: "${"slowly does it ".repeat(8)}" }]
`;
const ackWait = { MH_ACK_WAIT_MS: "600" };

let bed: Bed;

beforeAll(async () => {
  bed = await startBed({ nap, slow });
});
afterEach(() => bed.stopHarnesses());
afterAll(() => bed?.close());

const start = (env: Record<string, string> = {}) => bed.startHarness({ ...ackWait, ...env });

/** Every tool use has one intent per attempt, one result, and no result says unknown. */
function expectEachOnce(events: readonly SessionEvent[]): void {
  const uses = ofType(events, "agent.tool_use").map((event) => event.id);
  expect(new Set(ofType(events, "operation.dispatched").map((event) => event.operation_id))).toEqual(new Set(uses));
  expect(ofType(events, "agent.tool_result").map((event) => event.tool_use_id)).toEqual(uses);
  expect(ofType(events, "agent.tool_result").map((event) => event.outcome)).toEqual(uses.map(() => "COMPLETED"));
}

/** Bodies of the model requests of a session, without the moving cache mark. */
function requestsAbout(text: string): { role: string; content: unknown[] }[][] {
  const bodies = bed.model.requests.map((entry) => Buffer.from(entry.body).toString());
  const unmarked = bodies.map((body) => body.replaceAll(',"cache_control":{"type":"ephemeral"}', ""));
  return unmarked.filter((body) => body.includes(text)).map((body) => JSON.parse(body).messages);
}

describe("killed with SIGKILL, another brain finishes the turn", () => {
  const points = Object.keys(faultPoints).flatMap((point) =>
    point === "after_wake" ? [point] : [point, `${point}@2`],
  );
  const reached = points.filter(
    (point) => !["after_provision@2", "before_model_request@2", "after_idle_append@2"].includes(point),
  );

  it.each(reached)("at %s", async (point) => {
    const doomed = await start({ MH_FAULT_POINT: point });
    const text = `Run 3 steps (${point})`;
    const id = await createSession(bed, text);
    expect(await doomed.ended).toBe("SIGKILL");
    await start();
    const events = await logUntil(bed, id, (log) => isIdle()(log) && lastWords(log).includes("Finished"));
    expect(lastWords(events)).toBe("Finished 3 steps. The log says:\n3\n");
    expectEachOnce(events);
    const requests = requestsAbout(text);
    for (const [index, messages] of requests.entries()) {
      const earlier = requests[index - 1] ?? [];
      expect(JSON.stringify(messages.slice(0, earlier.length))).toBe(JSON.stringify(earlier));
    }
  });
});

describe("the log is away", () => {
  it("holds a result until session-store is back, and writes it once", async () => {
    await start();
    const id = await createSession(bed, "nap once");
    await logUntil(bed, id, (log) => log.some((event) => event.type === "operation.dispatched"));
    await bed.restartStore();
    const events = await logUntil(bed, id, isIdle());
    expect(lastWords(events)).toContain("Naps: 1");
    expectEachOnce(events);
    expect(ofType(events, "brain.woken")).toHaveLength(1);
  });
});

describe("the hand dies", () => {
  it("says that the outcome is unknown, never runs it again by itself, and works on in a new hand", async () => {
    await start();
    const id = await createSession(bed, "nap once");
    await logUntil(bed, id, (log) => log.some((event) => event.type === "operation.dispatched"));
    await bed.loseHands();
    const events = await logUntil(bed, id, isIdle());
    const [first] = ofType(events, "agent.tool_result");
    expect(first).toMatchObject({ outcome: "UNKNOWN", is_error: true });
    expect(JSON.stringify(first?.content)).toMatch(/outcome of this bash call is unknown.*sandbox.*lost.*Verify/);
    expect(ofType(events, "hand.lost")).toHaveLength(1);
    expect(ofType(events, "hand.provisioned").map((event) => event.generation)).toEqual([1, 2]);
    expect(ofType(events, "operation.dispatched").map((event) => event.operation_id)).toEqual(
      ofType(events, "agent.tool_use").map((event) => event.id),
    );
  });

  it("and the brain too: the next brain finds out and says the same", async () => {
    const doomed = await start({ MH_FAULT_POINT: "during_execute" });
    const id = await createSession(bed, "nap once");
    expect(await doomed.ended).toBe("SIGKILL");
    await bed.loseHands();
    await start();
    const events = await logUntil(bed, id, isIdle());
    expect(ofType(events, "agent.tool_result")[0]).toMatchObject({ outcome: "UNKNOWN", is_error: true });
    expect(ofType(events, "hand.lost")).toHaveLength(1);
  });
});

describe("two brains", () => {
  it("fences out one that was paused, and runs its operation once", async () => {
    const zombie = await start();
    const id = await createSession(bed, "nap once");
    await logUntil(bed, id, (log) => log.some((event) => event.type === "operation.dispatched"));
    zombie.child.kill("SIGSTOP");
    const heir = await start();
    const events = await logUntil(bed, id, isIdle());
    expect(lastWords(events)).toContain("Naps: 1");
    zombie.child.kill("SIGCONT");
    await end(heir, "SIGTERM");
    // The zombie lives, takes the next wake, and has written nothing into the log it lost.
    await send(bed, id, message("Hello"));
    const later = await logUntil(bed, id, isIdle(2));
    expect(later.slice(0, events.length)).toEqual(events);
    const takenAt = ofType(events, "brain.woken")[1]?.position ?? 0;
    expect(events.filter((event) => event.position > takenAt && event.epoch === 1)).toEqual([]);
    expectEachOnce(later);
  });

  it("hands a session back on SIGTERM while a tool runs; the next brain attaches at once", async () => {
    const leaving = await start();
    const id = await createSession(bed, "nap once");
    await logUntil(bed, id, (log) => log.some((event) => event.type === "operation.dispatched"));
    const arriving = await start();
    expect(await end(leaving, "SIGTERM")).toBe("0");
    const events = await logUntil(bed, id, isIdle());
    expect(ofType(events, "brain.released").map((event) => event.reason)).toEqual(["drain"]);
    expect(lastWords(events)).toContain("Naps: 1");
    expectEachOnce(events);
    const [released] = ofType(events, "brain.released");
    const taken = ofType(events, "brain.woken")[1];
    expect((taken?.at ?? 0) - (released?.at ?? 0)).toBeLessThan(500);
    expect(arriving.child.exitCode).toBeNull();
  });

  it("lets the model finish its sentence on SIGTERM: no turn is interrupted", async () => {
    const leaving = await start();
    const id = await createSession(bed, "speak slowly");
    await logUntil(bed, id, (log) => log.some((event) => event.type === "span.model_request_start"));
    expect(await end(leaving, "SIGTERM")).toBe("0");
    const events = await logUntil(bed, id, isIdle());
    expect(ofType(events, "span.model_request_start")).toHaveLength(1);
    expect(ofType(events, "session.status_idle")[0]?.stop_reason.type).toBe("end_turn");
  });

  it("does not wait for ever: an answer that is too slow is left to the next brain", async () => {
    const leaving = await start({ MH_DRAIN_MS: "500" });
    const id = await createSession(bed, "speak slowly");
    await logUntil(bed, id, (log) => log.some((event) => event.type === "span.model_request_start"));
    expect(await end(leaving, "SIGTERM")).toBe("0");
    await start();
    const events = await logUntil(bed, id, isIdle());
    expect(ofType(events, "brain.released")).toHaveLength(1);
    expect(ofType(events, "span.model_request_end").map((event) => event.is_error)).toEqual([true, false]);
    expect(ofType(events, "session.error")).toEqual([]);
  });

  it("share many sessions", async () => {
    await Promise.all([start(), start()]);
    const ids = await Promise.all(Array.from({ length: 12 }, () => createSession(bed, "Run 2 steps")));
    const logs = await Promise.all(ids.map((id) => logUntil(bed, id, isIdle(), 60_000)));
    for (const events of logs) expectEachOnce(events);
    const brains = new Set(logs.flatMap((events) => ofType(events, "brain.woken").map((event) => event.instance_id)));
    expect(brains.size).toBe(2);
  });
});

async function end(process: Process, signal: NodeJS.Signals): Promise<string> {
  process.child.kill(signal);
  return await process.ended;
}
