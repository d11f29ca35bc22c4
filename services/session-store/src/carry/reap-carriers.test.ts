import { idSource, silentLogger, systemClock } from "@manyhands/kit";
import { expect, it } from "vitest";
import { decodeIndex, encodeIndex } from "../projections/index-snapshot.ts";
import { createSessionIndex } from "../projections/session-index.ts";
import { createMemoryEventStore } from "../store/memory-event-store.ts";
import { createMemorySideStore } from "../store/memory-side-store.ts";
import { append, created, replicaOver, within } from "../testing/log.ts";
import { agentMessage } from "../testing/service.ts";
import { buildFirstFrame } from "./first-frame.ts";
import { findForkPoint } from "./fork-point.ts";
import { maxImportMs, sweepCarriers } from "./reap-carriers.ts";

const carrierAt = (ageMs: number) => idSource(() => Date.now() - ageMs)("carrier");

/** The frames of a session under a carrier's id, as an import stores them. */
async function carry(replica: ReturnType<typeof replicaOver>, carrierId: string): Promise<void> {
  for (const one of await replica.store.read("sesn_origin", [0, 1])) {
    const { frame, payload, position, count } = one;
    await replica.store.append(
      { sessionId: carrierId, frame, payload, position, count, epoch: 0, status: "idle" },
      5000,
    );
  }
}

it("removes the carrier of an import that broke off, and none that is shared or may still be", async () => {
  const inner = createMemoryEventStore();
  const side = createMemorySideStore();
  const replica = replicaOver(inner, side);
  await replica.log.create("sesn_origin", append(created()), within());
  await replica.log.append("sesn_origin", append(agentMessage("a", "sevt_a")), within());
  const [broken, used, fresh] = [carrierAt(3 * maxImportMs), carrierAt(4 * maxImportMs), carrierAt(1000)];
  for (const carrierId of [broken, used, fresh]) await carry(replica, carrierId);

  const hot = await replica.cache.current("sesn_origin");
  const header = hot.header ?? expect.fail("no header");
  const source = { sessionId: "sesn_origin", position: 2, carrierId: used, header };
  const point = await findForkPoint(replica.store, hot, 2);
  const built = buildFirstFrame("sesn_imported", source, point, { requestId: "", nowMs: Date.now() });
  await replica.log.begin(built, within());

  const first = await createSessionIndex(inner, silentLogger());
  // Also what only a snapshot tells.
  const pieces: Uint8Array[] = [];
  for await (const piece of encodeIndex(first.entries())) pieces.push(piece);
  const entries = (await decodeIndex(pieces)) ?? expect.fail("unreadable");
  const index = await createSessionIndex(inner, silentLogger(), undefined, { sequence: first.sequence(), entries });
  expect(index.size()).toBe(first.size());

  const deps = { index, store: inner, side, clock: systemClock, logger: silentLogger() };
  expect(await sweepCarriers(deps)).toBe(1);
  expect(await Promise.all([broken, used, fresh].map((id) => inner.exists(id)))).toEqual([false, true, true]);
  expect(index.openCarriers()).toEqual([fresh]);
  expect(await sweepCarriers(deps)).toBe(0);
});
