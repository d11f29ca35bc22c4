import { emptyState, fold, type NewEvent, type SessionEvent } from "@manyhands/core";
import { describe, expect, it } from "vitest";
import { maxFrameBytes, maxFrameEvents, PendingFrame } from "./pending-frame.ts";

function frame(): PendingFrame {
  let ids = 0;
  return new PendingFrame(() => `e${++ids}`);
}

const running = { type: "session.status_running" } as const;
const said = (text: string): NewEvent<"agent.message"> => ({
  id: `m-${text.slice(0, 8)}`,
  type: "agent.message",
  content: [{ type: "text", text }],
});

describe("the pending frame", () => {
  it("keeps facts and drops decisions when the head moved", () => {
    const pending = frame();
    pending.add([running], false);
    pending.add([said("fact")], true);
    pending.add([running], false);
    pending.dropDecisions();
    expect(pending.next().map((event) => event.id)).toEqual(["m-fact"]);
  });

  it("may overlap a model request only while it says nothing the model is shown", () => {
    const pending = frame();
    pending.add([running], false);
    expect(pending.mayOverlap).toBe(true);
    pending.add([said("x")], true);
    expect(pending.mayOverlap).toBe(false);
  });

  it("gives ids once: what is stored later is what was folded before", () => {
    const pending = frame();
    pending.add([running], false);
    expect(pending.next()).toEqual(pending.next());
  });

  it("never fills a frame beyond events or bytes, but always makes progress", () => {
    const many = frame();
    many.add(
      Array.from({ length: maxFrameEvents + 5 }, () => running),
      false,
    );
    expect(many.next()).toHaveLength(maxFrameEvents);
    many.stored(maxFrameEvents);
    expect(many.next()).toHaveLength(5);
    const big = frame();
    big.add([said("x".repeat(maxFrameBytes)), said("y".repeat(maxFrameBytes))], true);
    expect(big.next()).toHaveLength(1);
  });

  it("knows an append whose answer was lost by its ids", () => {
    const pending = frame();
    pending.add([running, said("x")], true);
    const ids = new Set(pending.next().map((event) => event.id));
    expect(pending.dropStored(new Set(["other"]))).toBe(false);
    expect(pending.dropStored(ids)).toBe(true);
    expect(pending.size).toBe(0);
  });

  it("folds as the log will", () => {
    const pending = frame();
    pending.add([running], false);
    const [event] = pending.next();
    if (event === undefined) throw new Error("nothing is pending");
    const stored: SessionEvent = { ...event, position: 0, at: 5, epoch: 1 };
    expect(pending.foldOnto(emptyState, 1, 5)).toEqual(fold([stored]));
  });
});
