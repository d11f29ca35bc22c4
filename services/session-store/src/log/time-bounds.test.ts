import { timestampMs } from "@bufbuild/protobuf/wkt";
import { systemClock } from "@manyhands/kit";
import fc from "fast-check";
import { expect, it } from "vitest";
import { createMemoryEventStore } from "../store/memory-event-store.ts";
import { createMemorySideStore } from "../store/memory-side-store.ts";
import { append, created, replicaOver, within } from "../testing/log.ts";
import { agentMessage } from "../testing/service.ts";
import { readWhole } from "./event-reader.ts";
import { timeBounds } from "./time-bounds.ts";

it("bounds every event of any span of time, and hardly more, in few reads however long the log", async () => {
  const pauses = fc.array(fc.tuple(fc.constantFrom(0, 0, 1, 5, 90), fc.integer({ min: 1, max: 4 })), {
    maxLength: 120,
  });
  const spans = fc.array(fc.tuple(fc.nat(400), fc.nat(200)), { minLength: 1, maxLength: 6 });
  const startMs = Date.now();
  await fc.assert(
    fc.asyncProperty(pauses, spans, async (steps, queries) => {
      let nowMs = startMs;
      const inner = createMemoryEventStore();
      const clock = { ...systemClock, nowMs: () => nowMs };
      const { log, cache, store } = replicaOver(inner, createMemorySideStore(), clock);
      await log.create("sesn_t", append(created()), within());
      for (const [pause, size] of steps) {
        nowMs += pause;
        await log.append("sesn_t", append(...Array.from({ length: size }, () => agentMessage("a"))), within());
      }
      const hot = await cache.current("sesn_t");
      const all = (await readWhole(store, hot, 0, hot.nextFrame)).flatMap((frame) => frame.events);
      for (const [after, length] of queries) {
        let reads = 0;
        const count = <T>(result: T): T => {
          reads += 1;
          return result;
        };
        const counting = { ...store, read: (...of: Parameters<typeof store.read>) => count(store.read(...of)) };
        const [fromMs, beforeMs] = [startMs + after, startMs + after + length];
        const { from, to } = await timeBounds(counting, hot, { fromMs, beforeMs });
        const wanted = all.filter(({ createdAt }) => {
          const at = createdAt === undefined ? 0 : timestampMs(createdAt);
          return at >= fromMs && at < beforeMs;
        });
        for (const { position } of wanted) expect(Number(position) >= from && Number(position) < to).toBe(true);
        expect(to - from).toBeLessThanOrEqual(wanted.length + 8);
        expect(reads).toBeLessThanOrEqual(2 * (Math.ceil(Math.log2(hot.nextFrame + 1)) + 2));
      }
    }),
    { numRuns: 60 },
  );
});
