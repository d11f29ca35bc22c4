import { eventually } from "@manyhands/testkit";
import { describe, expect, it } from "vitest";
import { agentMessage, collect, idle, newSession, textOf, woken } from "../testing/service.ts";
import { storeUnderTest } from "../testing/store-under-test.ts";

const { store, emit } = storeUnderTest();

describe("watching", () => {
  it("sends history, the marker, then live, without gap or duplicate while writers write", async () => {
    const sessionId = await newSession(store.sessions);
    const writing = (async () => {
      for (let n = 0; n < 150; n += 1) await emit(sessionId, agentMessage(`${n}`));
    })();
    const watches = [0n, 1n, 20n].map((from) =>
      collect((signal) =>
        store.sessions.watchEvents({ sessionId, start: { case: "fromPosition", value: from } }, { signal }),
      ),
    );
    await writing;
    for (const [index, watch] of watches.entries()) {
      const first = [0, 0, 19][index] ?? 0;
      await eventually(() => textOf(watch.events().at(-1) ?? idle()) === "149");
      expect(watch.events().map(textOf)).toEqual(Array.from({ length: 150 - first }, (_, n) => String(n + first)));
      expect(watch.cases().filter((one) => one === "caughtUp")).toHaveLength(1);
      watch.stop();
    }
  });

  it("goes on after an event id, hides platform events unless asked, and beats", async () => {
    const sessionId = await newSession(store.sessions);
    const { events } = await emit(sessionId, agentMessage("a"), agentMessage("b"));
    const watch = collect((signal) =>
      store.sessions.watchEvents(
        { sessionId, start: { case: "afterEventId", value: events[0]?.id ?? "" }, heartbeatMs: 1000 },
        { signal },
      ),
    );
    await store.sessions.emitEvents({ sessionId, events: [woken(1), agentMessage("c")], epoch: 1n });
    await eventually(() => watch.cases().includes("heartbeat"));
    expect(watch.events().map(textOf)).toEqual(["b", "c"]);
    watch.stop();
    const platform = collect((signal) =>
      store.sessions.watchEvents(
        { sessionId, start: { case: "fromPosition", value: 0n }, includePlatform: true },
        { signal },
      ),
    );
    await eventually(() => platform.cases().includes("caughtUp"));
    expect(platform.events().map((event) => event.type)).toEqual([
      "session.created",
      "agent.message",
      "agent.message",
      "brain.woken",
      "agent.message",
    ]);
    platform.stop();
    const ahead = collect((signal) =>
      store.sessions.watchEvents({ sessionId, start: { case: "fromPosition", value: 99n } }, { signal }),
    );
    await eventually(() => ahead.cases().includes("caughtUp"));
    expect(ahead.items[0]?.item.value).toMatchObject({ headPosition: 5n });
    ahead.stop();
    const missing = collect((signal) =>
      store.sessions.watchEvents({ sessionId, start: { case: "afterEventId", value: "sevt_no" } }, { signal }),
    );
    expect(await missing.ended).toMatchObject({ kind: "notFound" });
  });
});
