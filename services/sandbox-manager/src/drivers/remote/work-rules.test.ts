import { describe, expect, it } from "vitest";
import { parseWorkId, parseWorkRecord, type WorkRecord, workIdOf } from "./work-record.ts";
import { acknowledged, beaten, claimed, isFree, isOverdue, NO_HEARTBEAT, offered, stopped } from "./work-rules.ts";
import { hashOfToken, isToken, newWorkToken, workIdOfToken } from "./work-token.ts";

const whose = { workspaceId: "wrkspc_1", environmentId: "env_1", sessionId: "sesn_1" };
const reclaimMs = 5000;
const leaseMs = 60_000;

const queued = offered(undefined, whose, 0);
const held = acknowledged(claimed(queued, "a", 10), 20, leaseMs);
const active = beaten(held, { expected: NO_HEARTBEAT, byToken: true }, 30, leaseMs);
const reading: WorkRecord = { ...active, hasRead: true };

describe("an item", () => {
  it("is offered once while it is open, and anew with the next number when it has ended", () => {
    expect(offered(queued, whose, 5)).toBe(queued);
    expect(offered(active, whose, 5)).toMatchObject({ generation: 1, state: "active", offeredAgain: true });
    const ended = stopped(active, { force: true, byToken: true }, 40);
    expect(offered(ended, whose, 50)).toMatchObject({ generation: 2, state: "queued", offeredAgain: false });
  });

  it("that was claimed and not acknowledged is free again after the reclaim time", () => {
    const claim = claimed(queued, "a", 10);
    expect(isFree(claim, 10 + reclaimMs, reclaimMs)).toBe(false);
    expect(isFree(claim, 11 + reclaimMs, reclaimMs)).toBe(true);
    expect(claimed(claim, "b", 9000)).toMatchObject({ tokenHash: "b", formerTokens: ["a"], unsettled: false });
  });

  it("is nobody else's before its lease ends", () => {
    expect(isFree(active, 29 + leaseMs, reclaimMs)).toBe(false);
    expect(isFree(active, 30 + leaseMs, reclaimMs)).toBe(true);
  });

  it("is unsettled for the next worker only when the one before had read the session", () => {
    const later = 40 + leaseMs;
    expect(claimed(active, "b", later)).toMatchObject({ state: "queued", unsettled: false, heartbeat: "" });
    expect(claimed(reading, "b", later)).toMatchObject({ unsettled: true, hasRead: false });
    expect(claimed(claimed(reading, "b", later), "c", later)).toMatchObject({ unsettled: true });
    expect(claimed(reading, "b", later).unsettledUntilMs).toBe(30 + leaseMs);
    expect(stopped(reading, { force: true, byToken: true }, 50).unsettledUntilMs).toBe(50);
    expect(stopped(reading, { force: true, byToken: true }, later)).toMatchObject({ unsettled: true, tokenHash: "" });
  });

  it("that somebody else stopped is not claimed before its worker's lease has ended", () => {
    const next = offered(stopped(reading, { force: true, byToken: false }, 40), whose, 50);
    expect(isFree(next, 60, reclaimMs)).toBe(false);
    expect(isFree(next, 30 + leaseMs, reclaimMs)).toBe(true);
    const free = offered(stopped(reading, { force: true, byToken: true }, 40), whose, 50);
    expect(isFree(free, 60, reclaimMs)).toBe(true);
  });

  it("that is to end says so at the next heartbeat, and has ended when none comes", () => {
    const ending = stopped(active, { force: false, byToken: false }, 40);
    expect(ending.state).toBe("stopping");
    expect(beaten(ending, { expected: active.heartbeat, byToken: true }, 50, leaseMs)).toBe(ending);
    expect(isOverdue(ending, 50)).toBe(false);
    expect(isOverdue(ending, 30 + leaseMs)).toBe(true);
  });
});

describe("a heartbeat", () => {
  const beat = (record: WorkRecord, expected: string, byToken = true) =>
    beaten(record, { expected, byToken }, 30, leaseMs);

  it("must name the one before, which every answer names anew", () => {
    const next = beat(active, active.heartbeat);
    expect(Date.parse(next.heartbeat)).toBe(Date.parse(active.heartbeat) + 1);
    expect(() => beat(next, "2001-01-01T00:00:00.000Z")).toThrow(
      expect.objectContaining({ reason: "HEARTBEAT_MISMATCH" }),
    );
    expect(() => beat(active, NO_HEARTBEAT, false)).toThrow("is not the last heartbeat");
  });

  it("may be repeated by the holder of the token when its answer was lost", () => {
    const next = beat(active, active.heartbeat);
    expect(beat(next, active.heartbeat)).toMatchObject({ heartbeatBefore: active.heartbeat, state: "active" });
    expect(beat(active, NO_HEARTBEAT).state).toBe("active");
  });

  it("is refused for an item that went back into the queue", () => {
    expect(() => beat(claimed(active, "b", 90_000), active.heartbeat)).toThrow("is not the last heartbeat");
  });
});

it("an ack is safe to repeat until the first heartbeat, and refused after it", () => {
  expect(acknowledged(held, 25, leaseMs)).toBe(held);
  expect(() => acknowledged(active, 35, leaseMs)).toThrow(expect.objectContaining({ reason: "WORK_TAKEN" }));
  expect(() => acknowledged(queued, 35, leaseMs)).toThrow(expect.objectContaining({ reason: "WORK_TAKEN" }));
});

it("tokens name their item and are known by their hash alone", () => {
  const token = newWorkToken(workIdOf(queued));
  expect(workIdOfToken(token)).toBe("work_1_sesn_1");
  expect(parseWorkId("work_1_sesn_1")).toEqual({ generation: 1, sessionId: "sesn_1" });
  expect(parseWorkId("work_0_sesn_1")).toBeUndefined();
  expect(isToken(token, hashOfToken(token))).toBe(true);
  expect(isToken(newWorkToken("work_1_sesn_1"), hashOfToken(token))).toBe(false);
  expect(isToken(token, "")).toBe(false);
});

it("a stored record is read as it was written, and nothing else is", () => {
  expect(parseWorkRecord(Buffer.from(JSON.stringify(reading)))).toEqual(reading);
  expect(() => parseWorkRecord(Buffer.from("{}"))).toThrow();
});
