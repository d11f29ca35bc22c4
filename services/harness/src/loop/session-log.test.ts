import { create } from "@bufbuild/protobuf";
import { checkpointDraft, fold, type NewEvent, type SessionEvent } from "@manyhands/core";
import { newId, systemClock } from "@manyhands/kit";
import { decodeEvent, encodeEvent, GetEventsResponseSchema } from "@manyhands/protocol";
import { expect, it } from "vitest";
import { createSessionLog, type Sessions } from "./session-log.ts";

const created: NewEvent<"session.created"> = {
  id: "sevt_0",
  type: "session.created",
  workspace_id: "wrkspc_1",
  agent: { model: { id: "demo-1" }, tools: [{ type: "agent_toolset_20260401", configs: [{ name: "bash" }] }] },
  environment: {},
  title: "",
  metadata: {},
  resources: [],
  vault_ids: [],
  harness_kind: "default",
  budget: null,
};

/** Ten messages with a checkpoint behind the fifth, as stored; `spoil` changes it before it is. */
function storedLog(spoil: (checkpoint: NewEvent<"context.checkpointed">) => NewEvent): SessionEvent[] {
  const log: SessionEvent[] = [];
  const store = (event: NewEvent) => {
    log.push({ ...event, position: log.length, at: 1_700_000_000_000 + log.length, epoch: 0 } as SessionEvent); // the envelope
  };
  store(created);
  for (let n = 1; n <= 10; n += 1) {
    store({ id: `sevt_${n}`, type: "user.message", content: [{ type: "text", text: `${n}` }] });
    const state = fold(log);
    if (n !== 5 || state.phase === "unborn" || state.phase === "closed") continue;
    const draft = checkpointDraft(state) ?? expect.fail("no checkpoint");
    store(spoil({ ...draft, id: "sevt_c" }));
  }
  return log;
}

/** The service over that log: what it is asked for, and how often. */
function serviceOver(log: readonly SessionEvent[]) {
  const asked: (string | undefined)[] = [];
  const sessions: Sessions = {
    async getEvents({ slice }) {
      asked.push(slice?.case);
      const from = slice?.case === "fromCheckpoint" ? log.findIndex((one) => one.type === "context.checkpointed") : 0;
      const events = log.slice(Math.max(0, from)).map((event) => Object.assign(encodeEvent(event), envelope(event)));
      return create(GetEventsResponseSchema, { events });
    },
    emitEvents: () => Promise.reject(new Error("nothing is appended here")),
  };
  const subscribeTail = () => Promise.resolve(() => undefined);
  return { asked, log: createSessionLog({ sessions, subscribeTail, clock: systemClock, newId }) };
}

const envelope = ({ position, epoch }: SessionEvent) => ({ position: BigInt(position), epoch: BigInt(epoch) });

it("opens from the checkpoint on, in one read", async () => {
  const stored = storedLog((checkpoint) => checkpoint);
  const { asked, log } = serviceOver(stored);
  const { events, state } = await log.open("sesn_1");
  expect(events.map((event) => event.position)).toEqual([6, 7, 8, 9, 10, 11]);
  expect(state).toEqual(fold(stored.map((event) => decodeEvent(Object.assign(encodeEvent(event), envelope(event))))));
  expect(asked).toEqual(["fromCheckpoint"]);
});

it.each([
  ["of another version", { fold_version: 999 }],
  ["out of place", { up_to_position: 3 }],
  ["unreadable", { state: { phase: "resting" } }],
] as const)("folds the whole log, with the same result, when the checkpoint is %s", async (_, spoilt) => {
  const stored = storedLog((checkpoint) => ({ ...checkpoint, ...spoilt }));
  const { asked, log } = serviceOver(stored);
  const { events, state } = await log.open("sesn_1");
  expect(events).toHaveLength(12);
  expect(state).toEqual(
    await serviceOver(stored)
      .log.read("sesn_1", 0)
      .then((all) => fold(all)),
  );
  expect(asked).toEqual(["fromCheckpoint", "range"]);
});

it("opens a log without a checkpoint in one read too", async () => {
  const { asked, log } = serviceOver(storedLog((one) => one).filter((event) => event.position < 6));
  expect((await log.open("sesn_1")).state.head).toBe(6);
  expect(asked).toEqual(["fromCheckpoint"]);
});
