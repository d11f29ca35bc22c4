import { expect, it } from "vitest";
import type { NewEvent, SessionEvent } from "./events.ts";
import { fold } from "./evolve.ts";

const at = (events: readonly Partial<SessionEvent>[]) =>
  events.map(
    (event, position) => ({ id: `sevt_${position}`, at: position, epoch: 1, ...event, position }) as SessionEvent,
  );

const born: Partial<NewEvent> = {
  type: "session.created",
  workspace_id: "wrkspc_a",
  agent: { model: { id: "m" } },
  environment: {},
  title: "",
  metadata: {},
  resources: [],
  vault_ids: [],
  harness_kind: "default",
  budget: null,
};
const hand = (id: string) => ({
  type: "hand.provisioned" as const,
  hand_id: id,
  name: "default",
  driver: "docker",
  not_isolated: [],
  recipe: {},
  generation: 1,
});
const use = (id: string) => ({ type: "agent.tool_use" as const, id, name: "bash", input: {} });
const sent = (id: string, handId = "hand_a") => ({
  type: "operation.dispatched" as const,
  operation_id: id,
  hand_id: handId,
  attempt: 1,
});
const result = (id: string) => ({ type: "agent.tool_result" as const, tool_use_id: id });
const filesAfter = (events: readonly Partial<SessionEvent>[]) => {
  const state = fold(at([born as Partial<SessionEvent>, ...events]));
  return "filesAfter" in state ? state.filesAfter : undefined;
};

it("names answered operations newest first, down to the files the hand began with", () => {
  const two = [hand("hand_a"), use("t1"), sent("t1"), result("t1"), use("t2"), sent("t2"), result("t2")];
  expect(filesAfter(two)).toEqual(["t2", "t1", "start_hand_a"]);
  expect(filesAfter([...two, hand("hand_b")])).toEqual(["start_hand_b"]);
});

it("leaves out what is not answered and what no hand was given", () => {
  expect(filesAfter([hand("hand_a"), use("t1"), sent("t1")])).toEqual(["start_hand_a"]);
  expect(filesAfter([use("t1"), sent("t1", ""), result("t1")])).toBeUndefined();
});

it("stays bounded", () => {
  const many = Array.from({ length: 150 }, (_, n) => [use(`t${n}`), sent(`t${n}`), result(`t${n}`)]).flat();
  const kept = filesAfter([hand("hand_a"), ...many]) ?? [];
  expect(kept).toHaveLength(101);
  expect([kept[0], kept.at(-1)]).toEqual(["t149", "start_hand_a"]);
});
