import { expect, it } from "vitest";
import { answered, created, ended, requested, result, said, stored, used, woken } from "./testing/test-log.ts";
import { buildTurns } from "./transcript.ts";

it("tells the model after the tool results what came of a push whose answer was lost", () => {
  const push = { ref: "refs/heads/main", old: "a".repeat(40), new: "b".repeat(40) };
  const log = stored([
    created(),
    said("Push it."),
    woken(),
    requested("req_1", 2),
    used("sevt_push"),
    ended("req_1", "tool_use"),
    {
      type: "push.settled",
      url: "https://git.test/app.git",
      outcome: "COMPLETED",
      refs: [{ ...push, outcome: "COMPLETED" }],
    },
    result("sevt_push", "fatal: the remote end hung up unexpectedly"),
    requested("req_2", 8),
    answered("It is there."),
    ended("req_2", "end_turn"),
  ]);
  const [, , after] = buildTurns(log, log.length);
  expect(after?.content.map(({ type }) => type)).toEqual(["tool_result", "text"]);
  expect(after?.content[1]?.text).toContain(`- refs/heads/main (to ${push.new}): was moved`);
  expect(buildTurns(log, 8)).toEqual(buildTurns(log, log.length).slice(0, 3)); // a rebuilt context is the same
});
