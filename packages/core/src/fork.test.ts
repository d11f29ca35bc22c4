import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Action } from "./actions.ts";
import { decide } from "./decide.ts";
import type { SessionEvent } from "./events.ts";
import { fold } from "./evolve.ts";
import { foldHeader, type SessionHeader } from "./header.ts";
import { defaultLimits } from "./limits.ts";
import { runPurely } from "./testing/pure-run.ts";
import {
  created,
  dispatched,
  ended,
  provisioned,
  requested,
  running,
  said,
  startMs,
  stored,
  used,
  type Written,
  woken,
} from "./testing/test-log.ts";

/** The fork's own first event at a position. */
function forked(position: number, epoch: number): Written {
  const { type: _, ...setup } = created() as Extract<Written, { type: "session.created" }>;
  return {
    ...setup,
    type: "session.forked",
    origin_session_id: "sesn_origin",
    origin_position: position,
    origin_frames: 1,
    carrier_id: "",
    epoch,
  };
}

/** What a brain does with a log after a fork and a message: what it appends, and the first action that is no append. */
function drive(history: readonly SessionEvent[]): { events: SessionEvent[]; last: Action } {
  const epoch = Math.max(0, ...history.map((event) => event.epoch));
  const next: Written[] = [forked(history.length, epoch), said("go on"), { ...woken(), epoch: epoch + 1 }];
  const events = [...history, ...stored(next, history.length)];
  for (let step = 0; step < 10; step += 1) {
    const state = fold(events);
    const now = startMs + events.length * 1_000;
    const last = decide({ state, now, limits: defaultLimits, epoch: epoch + 1, inFlight: new Set() });
    if (last.type !== "append") return { events, last };
    const drafts = last.events.map((event) => ({ ...event, epoch: epoch + 1 }));
    events.push(...stored(drafts as Written[], events.length));
  }
  throw new Error("a brain appends without end");
}

const busy: Written[] = [
  created(),
  said("hi"),
  woken(),
  running,
  requested("r1", 2),
  used("c1"),
  used("c2"),
  ended("r1", "tool_use"),
  provisioned("hand_1"),
  dispatched("c1"),
];

describe("a fork", () => {
  it("answers what the origin had dispatched as unknown, and runs what it had not in a hand of its own", () => {
    const { events, last } = drive(stored(busy));
    const answers = events.filter((event) => event.type === "agent.tool_result");
    expect(answers).toMatchObject([{ tool_use_id: "c1", outcome: "UNKNOWN", is_error: true, hand_id: "hand_1" }]);
    expect(last).toMatchObject({ type: "provision", calls: [{ id: "c2" }] });
  });

  it("closes a model request that the origin had open, and answers uses of a response that is cut", () => {
    const open = drive(stored(busy.slice(0, 5)));
    expect(open.last).toMatchObject({ type: "callModel", closes: expect.stringMatching(/r1/) });
    const cut = drive(stored(busy.slice(0, 6)));
    expect(cut.events.filter((event) => event.type === "agent.tool_result")).toHaveLength(1);
    expect(cut.last).toMatchObject({ type: "callModel" });
  });

  it("lives when the origin was archived or terminated", () => {
    const ends: Written[] = [{ type: "session.archived" }, { type: "session.status_terminated" }];
    for (const end of ends) {
      expect(drive(stored([...busy, end])).last).toMatchObject({ type: "callModel" });
    }
  });

  it("goes on from any point of any session: nothing is followed that ran in the origin's hands", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(1000), { maxLength: 60 }), fc.nat(), (script, at) => {
        const { events } = runPurely(script, defaultLimits);
        const history = events.slice(0, 1 + (at % events.length));
        const { events: after, last } = drive(history);
        expect(["callModel", "provision", "operate", "rest", "wait"]).toContain(last.type);
        if (last.type === "operate") {
          const own = last.start.every(
            ({ progress }) => progress.at === "dispatched" && progress.epoch === after.at(-1)?.epoch,
          );
          expect({ own, follow: last.follow }).toEqual({ own: true, follow: [] }); // calls it sent itself, without a hand
        }
        const state = fold(after);
        if (last.type === "rest") expect(state).toMatchObject({ phase: "acting", status: "idle" }); // waits for its client
        if (last.type === "wait") expect(last.untilMs).toBeGreaterThan(0);
      }),
      { numRuns: 300 },
    );
  });

  it("has the same header folded from its own first event as from the whole history", () => {
    const history = stored(busy);
    const own = stored([forked(history.length, 1), said("x")], history.length);
    const foldAll = (events: readonly SessionEvent[]) =>
      events.reduce<SessionHeader | undefined>((header, event) => foldHeader(header, event), undefined);
    expect(foldAll([...history, ...own])).toEqual(foldAll(own));
    expect(foldAll(own.slice(0, 1))).toMatchObject({
      status: "idle",
      hand_ids: [],
      head_position: 11,
      origin: { session_id: "sesn_origin", position: 10 },
    });
  });
});
