/** What a hand that is a client of the bus keeps of the rules of `driver.ts`: the example, over a real nats-server. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { type Bus, connectBus } from "@manyhands/bus";
import { newId, silentLogger } from "@manyhands/kit";
import { endWithUs, type NatsServer, startNatsServer } from "@manyhands/testkit";
import { afterAll, beforeAll, expect, test } from "vitest";
import { collect, spec, testPlan } from "../driver.contract.ts";
import type { Driver, OperationAction } from "../driver.ts";
import { createBusDriver } from "./bus-driver.ts";

const example = join(import.meta.dirname, "../../../../../packages/bus/examples/adventure-hand.mjs");
let nats: NatsServer;
let bus: Bus;
let driver: Driver;
let game: ChildProcess;

beforeAll(async () => {
  nats = await startNatsServer({ syncAlways: true });
  bus = await connectBus({ url: nats.url, name: "bus-driver", inboxPrefix: "_INBOX_bus", logger: silentLogger() });
  driver = createBusDriver(bus, newId("manager"), () => Date.now());
  game = spawn(process.execPath, [example, nats.url], { stdio: ["ignore", "pipe", "inherit"] });
  endWithUs(game);
  if (game.stdout) await once(game.stdout, "data");
});
afterAll(async () => {
  await driver?.close();
  await bus?.close();
  game?.kill("SIGKILL");
  await nats?.stop();
});

const say = (command: string): OperationAction => ({ kind: "tool", name: "bash", input: { command } });

test("an operation runs once, is followed by anybody, and is lost in words with its hand", async () => {
  const hand = await driver.provision(testPlan({ image: "adventure" }));
  const taken = spec(say("take lamp"));
  const [first, again] = await Promise.all([hand.start(taken), hand.start(taken)]);
  expect([first.existing, again.existing]).toEqual([false, true]);
  for (const { parts } of [first, again]) expect((await collect(parts)).output.toString()).toBe("Taken. It burns.");
  await expect(hand.start({ ...taken, inputHash: new Uint8Array(32) })).rejects.toMatchObject({ reason: "ID_REUSED" });
  const followed = await hand.attach(taken.id);
  expect(followed && (await collect(followed)).state).toMatchObject({ phase: "exited", exitCode: 0 });
  expect(await hand.attach(newId("sevt"))).toBeUndefined();
  expect(await hand.state(newId("sevt"))).toBeUndefined();
  await expect(hand.start(spec({ kind: "shell", script: Buffer.from("ls") }))).rejects.toMatchObject({
    kind: "invalid",
  });

  const other = await driver.provision(testPlan({ image: "adventure" }));
  await collect((await other.start(spec(say("go north")))).parts);
  const dark = await collect((await other.start(spec(say("open chest")))).parts);
  expect(dark.output.toString()).toContain("too dark"); // the lamp is the first one's
  expect((await driver.list()).map(({ handId }) => handId).sort()).toEqual([hand.handId, other.handId].sort());
  await driver.destroy(other.handId);
  expect(other.lost.aborted).toBe(true);

  game.kill("SIGKILL");
  await once(game, "exit");
  const unanswered = await hand.start(spec(say("look")));
  await expect(collect(unanswered.parts)).rejects.toMatchObject({ reason: "HAND_LOST" });
  expect(hand.lost.aborted).toBe(true);
  await expect(hand.start(spec(say("look")))).rejects.toMatchObject({ reason: "HAND_LOST" });
  await expect(driver.provision(testPlan({ image: "adventure" }))).rejects.toMatchObject({ reason: "NO_SUCH_HAND" });
});
