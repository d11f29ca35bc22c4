import type { SessionHeader, SessionStatus } from "@manyhands/core";
import fc from "fast-check";
import { expect, it } from "vitest";
import { planRetention } from "./plan-retention.ts";

const session = (n: number, updated_at: number, status: SessionStatus) => ({
  sessionId: `sesn_${n}`,
  header: { updated_at, status } as SessionHeader, // only these are looked at
});

it("names why each goes, longest unmoved first", () => {
  const sessions = [
    session(1, 50, "idle"),
    session(2, 10, "terminated"),
    session(3, 5, "running"),
    session(4, 90, "idle"),
  ];
  expect(planRetention(sessions, { maxIdleMs: 60, maxSessions: 2 }, 100)).toEqual([
    { sessionId: "sesn_2", updatedAt: 10, reason: "age" },
    { sessionId: "sesn_1", updatedAt: 50, reason: "count" },
  ]);
  expect(planRetention(sessions, {}, 1e12)).toEqual([]);
});

it("never takes a session at work or a younger one before an older one, and takes no more than it must", () => {
  const statuses = fc.constantFrom<SessionStatus>("idle", "running", "rescheduling", "terminated");
  const list = fc.array(fc.tuple(fc.nat(100), statuses), { maxLength: 40 });
  fc.assert(
    fc.property(list, fc.nat(100), fc.nat(45), (made, maxIdleMs, maxSessions) => {
      const sessions = made.map(([at, status], n) => session(n, at, status));
      const gone = new Set(planRetention(sessions, { maxIdleMs, maxSessions }, 100).map((one) => one.sessionId));
      const [taken, kept] = [true, false].map((is) => sessions.filter((one) => gone.has(one.sessionId) === is));
      const removable = (kept ?? []).filter(({ header }) => header.status === "idle" || header.status === "terminated");
      expect((taken ?? []).every(({ header }) => header.status === "idle" || header.status === "terminated")).toBe(
        true,
      );
      expect(removable.every(({ header }) => 100 - header.updated_at <= maxIdleMs)).toBe(true);
      if (removable.length > 0) expect((kept ?? []).length).toBeLessThanOrEqual(maxSessions);
      const oldestKept = Math.min(...removable.map(({ header }) => header.updated_at));
      expect((taken ?? []).every(({ header }) => header.updated_at <= oldestKept)).toBe(true);
      const byCount = planRetention(sessions, { maxSessions }, 100).length;
      expect(byCount).toBeLessThanOrEqual(Math.max(0, sessions.length - maxSessions));
    }),
    { numRuns: 500 },
  );
});
