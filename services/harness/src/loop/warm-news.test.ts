import { emptyState } from "@manyhands/core";
import { describe, expect, it } from "vitest";
import type { StoredEvent } from "./session-tail.ts";
import { judgeNews } from "./warm-news.ts";

/** What a warm session whose log it knows up to `head` says when these events are heard. */
function judged(head: number, events: readonly (readonly [position: number, type: string])[]) {
  const heard = events.map(([position, type]): StoredEvent => {
    return { id: `sevt_${position}`, type, position, at: 1, epoch: 1, unknown: new Uint8Array() };
  });
  const tail = { take: () => heard, peek: () => heard, onNews: undefined, close: () => undefined };
  return judgeNews({ events: [], state: { ...emptyState, head }, savedTo: 0, tail });
}

describe("news of a warm session", () => {
  it("is work when a message joins what is known", () => {
    expect(judged(5, [[5, "user.message"]])).toBe("work");
    const behind = [
      [4, "session.status_idle"],
      [5, "session.updated"],
      [6, "user.interrupt"],
    ] as const;
    expect(judged(5, behind)).toBe("urgent");
  });

  it("is left to the wake when something is missing, and nothing when there is no work in it", () => {
    expect(judged(5, [[6, "user.message"]])).toBe("nothing");
    expect(judged(6, [[5, "user.message"]])).toBe("nothing");
    expect(judged(5, [[5, "session.updated"]])).toBe("nothing");
    expect(judged(5, [])).toBe("nothing");
  });

  it("is that another brain took the session, also behind a hole", () => {
    const taken = [
      [7, "user.message"],
      [8, "brain.woken"],
    ] as const;
    expect(judged(5, taken)).toBe("taken");
  });
});
