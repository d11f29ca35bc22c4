import { expect, it } from "vitest";
import { decide } from "./decide.ts";
import type { SessionEvent } from "./events.ts";
import { fold } from "./evolve.ts";
import { defaultLimits } from "./limits.ts";
import {
  created,
  dispatched,
  ended,
  provisioned,
  requested,
  running,
  said,
  stored,
  used,
  woken,
} from "./testing/test-log.ts";

const file = { id: "sesrsc_1", type: "file", file_id: "file_1", mount_path: "/workspace/a" };
const begun = [
  created(),
  said("hi"),
  woken(),
  running,
  provisioned(),
  requested("r1", 2),
  used("c1"),
  ended("r1", "tool_use"),
];

function after(...events: Partial<SessionEvent>[]) {
  const log = stored(begun);
  const rest = events.map((event, index) => ({
    id: `sevt_x${index}`,
    at: 1,
    epoch: 1,
    ...event,
    position: log.length + index,
  }));
  const state = fold([...log, ...(rest as SessionEvent[])]);
  const view = { state, now: 1, limits: defaultLimits, epoch: 1, inFlight: new Set<string>() };
  return { state, action: decide(view) };
}

it("asks for the hand again before it is used when the session's files changed, and then uses the same one", () => {
  expect(after().action).toMatchObject({ type: "append", events: [{ type: "operation.dispatched" }] });
  const added = { type: "session.updated" as const, added_resources: [file] };
  expect(after(added).action).toMatchObject({ type: "provision" });
  const told = after(added, provisioned() as Partial<SessionEvent>);
  expect(told.action).toMatchObject({ type: "append", events: [{ type: "operation.dispatched" }] });
  const before = after().state;
  if (!("handsMade" in told.state && "handsMade" in before)) throw new Error("not a living session");
  expect([told.state.handsMade, told.state.filesAfter]).toEqual([before.handsMade, before.filesAfter]);
});

it("does not ask again for what changes no file", () => {
  const titled = { type: "session.updated" as const, title: "new", removed_resource_ids: ["sesrsc_9"] };
  expect(after(titled).action).toMatchObject({ type: "append" });
});

it("lets an operation that runs go on", () => {
  const log = stored([...begun, dispatched("c1")]);
  const added = {
    id: "sevt_x",
    at: 1,
    epoch: 1,
    position: log.length,
    type: "session.updated",
    added_resources: [file],
  };
  const state = fold([...log, added as unknown as SessionEvent]);
  const view = { state, now: 1, limits: defaultLimits, epoch: 1, inFlight: new Set(["c1"]) };
  expect(decide(view)).toEqual({ type: "wait" });
});
