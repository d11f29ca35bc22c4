import { applyStreams, connectBus } from "@manyhands/bus";
import { silentLogger } from "@manyhands/kit";
import { startNatsServer } from "@manyhands/testkit";
import fc from "fast-check";
import { expect, it } from "vitest";
import { createJetStreamEventStore } from "../store/jetstream-event-store.ts";
import { gatedStore } from "../testing/gated-store.ts";
import { Interleaving, script } from "../testing/interleaving.ts";

const cases = 60;

it(`allows only what the model allows on JetStream too, whatever order it takes its calls in (${cases})`, async () => {
  const server = await startNatsServer({ syncAlways: true });
  const bus = await connectBus({ url: server.url, name: "interleavings", logger: silentLogger() });
  await applyStreams(bus, { replicas: 1, streams: ["MH_LOG"] });
  const store = createJetStreamEventStore(bus);
  const open = { pass: () => Promise.resolve() };
  let ran = 0;
  try {
    const property = fc.asyncProperty(script, async ({ actors, fates }) => {
      ran += 1;
      const world = new Interleaving(gatedStore(store, open, fates), `c${ran}`);
      await world.begin();
      await world.run(actors);
      await world.check(store);
    });
    await fc.assert(property, { numRuns: cases, endOnFailure: true });
    expect(ran).toBe(cases);
  } finally {
    store.close();
    await bus.close();
    await server.stop();
  }
});
