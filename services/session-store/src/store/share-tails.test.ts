import { expect, it } from "vitest";
import { append, created, replicaOver, within } from "../testing/log.ts";
import { agentMessage } from "../testing/service.ts";
import type { StoredFrame } from "./event-store.ts";
import { createMemoryEventStore } from "./memory-event-store.ts";
import { shareTails } from "./share-tails.ts";

it("subscribes once for all listeners of a session, and anew after the last one left", async () => {
  const store = createMemoryEventStore();
  let [begun, ended] = [0, 0];
  const tail = shareTails(async (sessionId, onFrame) => {
    begun += 1;
    const end = await store.tail(sessionId, onFrame);
    return () => {
      ended += 1;
      end();
    };
  });
  const { log } = replicaOver(store);
  await log.create("sesn_t", append(created()), within());
  const seen: StoredFrame[][] = [[], []];
  const stops = await Promise.all(seen.map((list) => tail("sesn_t", (frame) => list.push(frame))));
  await log.append("sesn_t", append(agentMessage("a", "sevt_a")), within());
  expect(seen.map((list) => list.map((one) => one.frame))).toEqual([[1], [1]]);
  expect(seen[0]?.[0]).toBe(seen[1]?.[0]);

  stops[0]?.();
  stops[0]?.();
  await log.append("sesn_t", append(agentMessage("b", "sevt_b")), within());
  expect([begun, ended, seen[0]?.length, seen[1]?.length]).toEqual([1, 0, 1, 2]);
  stops[1]?.();
  const again = await tail("sesn_t", (frame) => seen[0]?.push(frame));
  await log.append("sesn_t", append(agentMessage("c", "sevt_c")), within());
  expect([begun, ended, seen[0]?.length, seen[1]?.length]).toEqual([2, 1, 2, 2]);
  again();
});

it("tells every listener that waits when subscribing fails, and tries again for the next one", async () => {
  let tries = 0;
  const tail = shareTails(async () => {
    tries += 1;
    if (tries === 1) throw new Error("away");
    return () => undefined;
  });
  const listen = () => tail("sesn_t", () => undefined);
  const first = await Promise.allSettled([listen(), listen()]);
  expect(first.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
  await listen();
  expect(tries).toBe(2);
});
