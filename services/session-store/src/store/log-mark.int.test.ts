import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { connectBus, streamFacts } from "@manyhands/bus";
import { silentLogger } from "@manyhands/kit";
import { startNatsServer, tempDir } from "@manyhands/testkit";
import { expect, it } from "vitest";
import { agentMessage, newSession, startStore, testConfig } from "../testing/service.ts";

it("a log that lost its end to damage is refused; allowed once, what is left is the log", async () => {
  await using dir = await tempDir("manyhands-mark-");
  await using server = await startNatsServer({ syncAlways: true, dir: dir.path });
  const store = await startStore(testConfig(server));
  const sessionId = await newSession(store.sessions);
  for (let n = 0; n < 10; n += 1) {
    await store.sessions.emitEvents({ sessionId, events: [agentMessage(`text-${n}-end`)] });
  }
  await store.stop();
  await server.kill9(); // the next start then reads every byte, and drops what lies behind a bad one
  const file = path.join(dir.path, "jetstream/jetstream/$G/streams/MH_LOG/msgs/1.blk");
  const bytes = readFileSync(file);
  const at = bytes.indexOf("text-6-end");
  expect(at).toBeGreaterThan(0);
  bytes[at] = (bytes[at] ?? 0) ^ 0xff;
  writeFileSync(file, bytes);
  await server.restart();
  const bus = await connectBus({ url: server.url, name: "test", logger: silentLogger() });
  expect((await streamFacts(bus, "MH_LOG", 5000)).lastSequence).toBe(7);
  await bus.close();

  await expect(startStore(testConfig(server))).rejects.toMatchObject({
    reason: "LOG_DAMAGED",
    message: expect.stringMatching(/reached message 11.*ends at 7/),
  });
  const allowed = await startStore(testConfig(server, { MH_ALLOW_DATA_LOSS: "true" }));
  expect((await allowed.sessions.getSession({ sessionId })).session?.headPosition).toBe(7n);
  await allowed.stop();
  const again = await startStore(testConfig(server));
  await again.sessions.emitEvents({ sessionId, events: [agentMessage("goes on")] });
  await again.stop();
});
