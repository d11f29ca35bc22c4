import { create } from "@bufbuild/protobuf";
import { EventSchema } from "@manyhands/protocol";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decodePageToken, encodePageToken, pageSize, queryHash } from "../page-token.ts";
import { createIntern } from "../projections/intern.ts";
import { agentMessage, userMessage } from "../testing/service.ts";
import { createFrameIndex } from "./frame-index.ts";
import { createMutex } from "./mutex.ts";
import { createRecentIds } from "./recent-ids.ts";
import { checkEvents } from "./validate-events.ts";

describe("frame index", () => {
  it("never names a start behind the position or an end before it, however few anchors it keeps", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 64 }), { maxLength: 2000 }), fc.nat(), (sizes, pick) => {
        const index = createFrameIndex(16);
        const starts: number[] = [];
        let total = 0;
        for (const [frame, size] of sizes.entries()) {
          starts.push(total);
          index.note(frame, total);
          total += size;
        }
        const position = total === 0 ? 0 : pick % total;
        const { from, behind } = index.around(position);
        expect(starts[from.frame] ?? 0).toBeLessThanOrEqual(position);
        if (behind !== undefined) expect(starts[behind.frame]).toBeGreaterThan(position);
        expect(index.size()).toBeLessThanOrEqual(17);
      }),
    );
  });
});

describe("recent ids", () => {
  it("forgets the oldest frame beyond its bound, and only that", () => {
    const recent = createRecentIds(2);
    for (const n of [0, 1, 2]) {
      recent.add(n, `r${n}`, [
        { id: `e${n}a`, epoch: 0n },
        { id: `e${n}b`, epoch: BigInt(n) },
      ]);
    }
    expect(recent.frameOfRequest("r0")).toBeUndefined();
    expect(recent.frameOfEvent("e0b")).toBeUndefined();
    expect([recent.frameOfRequest("r1"), recent.frameOfEvent("e2a")]).toEqual([1, 2]);
    expect(recent.size()).toBe(6);
    expect(recent.idsOf(0, 2)).toBeUndefined();
    expect(recent.idsOf(1, 3)).toEqual([
      { requestId: "r1", eventIds: ["e1a"] },
      { requestId: "r2", eventIds: ["e2a"] },
    ]);
    expect(recent.idsOf(1, 4)).toBeUndefined();
  });
});

describe("page tokens", () => {
  it("come back for their own query only", () => {
    const query = queryHash({ sessionId: "s", from: 1n });
    const token = encodePageToken(query, [7, "x"]);
    expect(decodePageToken(query, token)).toEqual([7, "x"]);
    expect(decodePageToken(query, "")).toBeUndefined();
    expect(() => decodePageToken(queryHash({ sessionId: "t", from: 1n }), token)).toThrow(/another query/);
    for (const bad of [
      "x",
      "bm9wZQ",
      Buffer.from("[2]").toString("base64url"),
      Buffer.from("{}").toString("base64url"),
    ]) {
      expect(() => decodePageToken(query, bad)).toThrow(/page_token/);
    }
    expect(pageSize(0, 20)).toBe(20);
    expect(() => pageSize(1001, 20)).toThrow(/page_size/);
  });
});

describe("event rules", () => {
  const check = (events: Parameters<typeof checkEvents>[0], sender: "client" | "platform" = "platform") =>
    checkEvents(events, { field: "events", min: 1, max: 64, sender });

  it("fills in missing ids and leaves given ones", () => {
    const events = [agentMessage("a"), agentMessage("b", "sevt_mine")];
    check(events);
    expect(events[0]?.id).toMatch(/^sevt_/);
    expect(events[1]?.id).toBe("sevt_mine");
  });

  it("names every problem by its field", () => {
    const noContent = create(EventSchema, { type: "user.message", payload: { case: "userMessage", value: {} } });
    expect(() => check([noContent])).toThrow(/events\[0\]\.content: must hold 1 to 1000 blocks/);
    expect(() => check([create(EventSchema, { type: "user.message" })])).toThrow(
      /events\[0\]\.payload: must be userMessage/,
    );
    expect(() => check([create(EventSchema, { type: "Not A Type" })])).toThrow(/events\[0\]\.type/);
    expect(() => check([userMessage("a", "sevt_1"), userMessage("b", "sevt_1")])).toThrow(/same id twice/);
    expect(() => check([agentMessage("a")], "client")).toThrow(/not for clients/);
    const created = create(EventSchema, { type: "session.created", payload: { case: "sessionCreated", value: {} } });
    expect(() => check([created])).toThrow(/written by its own RPC only/);
    const unknown = create(EventSchema, { type: "future.thing" });
    expect(() => check([unknown], "client")).toThrow(/not for clients/);
    check([unknown]);
  });
});

describe("mutex", () => {
  it("lets one in at a time, in order, refuses beyond its bound, and skips who gave up waiting", async () => {
    const mutex = createMutex(3);
    const never = new AbortController().signal;
    const order: number[] = [];
    const gate = Promise.withResolvers<void>();
    const impatient = new AbortController();
    const first = mutex.run(async () => {
      await gate.promise;
      order.push(1);
    }, never);
    const second = mutex.run(async () => order.push(2), impatient.signal);
    const third = mutex.run(async () => order.push(3), never);
    await expect(mutex.run(async () => order.push(4), never)).rejects.toMatchObject({ reason: "TOO_MANY_WAITING" });
    impatient.abort(new Error("gave up"));
    await expect(second).rejects.toThrow("gave up");
    gate.resolve();
    await Promise.all([first, third]);
    expect(order).toEqual([1, 3]);
  });
});

describe("intern", () => {
  it("keeps equal values once and forgets the oldest beyond its bound", () => {
    const intern = createIntern<{ a: number }>(2);
    const first = intern({ a: 1 });
    expect(intern({ a: 1 })).toBe(first);
    intern({ a: 2 });
    intern({ a: 3 });
    expect(intern({ a: 1 })).not.toBe(first);
  });
});
