import { describe, expect, it } from "vitest";
import { agentMessage, newSession, userMessage, woken } from "../testing/service.ts";
import { storeUnderTest } from "../testing/store-under-test.ts";

const { store, emit } = storeUnderTest();

describe("appending", () => {
  it("checks the expected position and tells the head", async () => {
    const sessionId = await newSession(store.sessions);
    const events = [agentMessage("a")];
    expect(await store.sessions.emitEvents({ sessionId, events, expectedPosition: 1n })).toMatchObject({
      headPosition: 2n,
      duplicate: false,
      events: [{ position: 1n }],
    });
    for (const expectedPosition of [1n, 9n]) {
      await expect(
        store.sessions.emitEvents({ sessionId, events: [agentMessage("b")], expectedPosition }),
      ).rejects.toMatchObject({
        kind: "conflict",
        reason: "POSITION_CONFLICT",
        details: { metadata: { head_position: "2" } },
      });
    }
  });

  it("answers a repeated request id and repeated event ids with what is there", async () => {
    const sessionId = await newSession(store.sessions);
    const request = { sessionId, requestId: "r1", events: [userMessage("once")] };
    const first = await store.sessions.emitEvents(request);
    const second = await store.sessions.emitEvents({ ...request, events: [userMessage("once")], expectedPosition: 1n });
    expect(second).toMatchObject({ duplicate: true, events: [{ id: first.events[0]?.id, position: 1n }] });
    await expect(store.sessions.emitEvents({ ...request, events: [userMessage("else")] })).rejects.toMatchObject({
      reason: "ID_REUSED",
    });
    const withId = () => userMessage("mine", "sevt_client1");
    await emit(sessionId, withId());
    expect(await emit(sessionId, withId())).toMatchObject({ duplicate: true, headPosition: 3n });
    expect(await emit(sessionId, userMessage("new"), withId())).toMatchObject({
      duplicate: false,
      headPosition: 4n,
      events: [{ position: 3n }, { id: "sevt_client1", position: 2n }],
    });
    await expect(emit(sessionId, userMessage("other", "sevt_client1"))).rejects.toMatchObject({ reason: "ID_REUSED" });
  });

  it("fences older epochs and tells the newest", async () => {
    const sessionId = await newSession(store.sessions);
    await store.sessions.emitEvents({ sessionId, events: [woken(1)], epoch: 1n, expectedPosition: 1n });
    await store.sessions.emitEvents({ sessionId, events: [agentMessage("one")], epoch: 1n });
    await store.sessions.emitEvents({ sessionId, events: [woken(2)], epoch: 2n });
    for (const [epoch, event] of [
      [1n, agentMessage("zombie")],
      [1n, woken(1)],
      [2n, woken(2)],
      [9n, agentMessage("z")],
    ] as const) {
      await expect(store.sessions.emitEvents({ sessionId, events: [event], epoch })).rejects.toMatchObject({
        kind: "fenced",
        reason: "FENCED",
        details: { metadata: { epoch: "2" } },
      });
    }
    await emit(sessionId, userMessage("clients are not fenced"));
    expect((await store.sessions.getSession({ sessionId })).session).toMatchObject({ epoch: 2n, headPosition: 5n });
  });

  it("lets every one of many writers through exactly once, without a gap", async () => {
    const sessionId = await newSession(store.sessions);
    const writers = Array.from({ length: 40 }, (_, n) => emit(sessionId, agentMessage(`w${n}`)));
    const positions = (await Promise.all(writers)).map((answer) => Number(answer.events[0]?.position));
    expect(positions.sort((a, b) => a - b)).toEqual(Array.from({ length: 40 }, (_, n) => n + 1));
  });

  it("lets exactly one of many writers of the same position win", async () => {
    const sessionId = await newSession(store.sessions);
    const outcomes = await Promise.allSettled(
      Array.from({ length: 20 }, (_, n) =>
        store.sessions.emitEvents({ sessionId, events: [agentMessage(`w${n}`)], expectedPosition: 1n }),
      ),
    );
    expect(outcomes.filter((one) => one.status === "fulfilled")).toHaveLength(1);
  });
});
