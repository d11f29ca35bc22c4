/** Containers that the engine fails to start, and volumes that it refuses: what becomes of the hand. */
import { newId, silentLogger } from "@manyhands/kit";
import Docker from "dockerode";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { type Fault, type FaultyEngine, startFaultyEngine } from "../../testing/faulty-engine.ts";
import { agentBinary, BUSYBOX_IMAGE, ensureTestImages } from "../../testing/test-images.ts";
import { run, shell, testPlan } from "../driver.contract.ts";
import type { Driver } from "../driver.ts";
import { containerName, LABEL } from "./container-spec.ts";
import { createDockerDriver } from "./docker-driver.ts";
import { mountRepositories } from "./mounted-repositories.ts";
import { createOverlaySlots, type OverlaySlots } from "./overlay-slots.ts";

const socketPath = "/var/run/docker.sock";
const docker = new Docker({ socketPath });
const place = newId("plat");
const SPURIOUS = "OCI runtime start failed: cannot start an already running container: unknown";
/** What the next requests that match are answered with; the last one stays. */
let faults: readonly (Fault | undefined)[] = [];
let match = /^$/;
let engine: FaultyEngine;
let driver: Driver;
let slots: OverlaySlots;

beforeAll(async () => {
  await ensureTestImages(docker);
  engine = await startFaultyEngine(socketPath, (asked) => {
    if (!match.test(asked)) return undefined;
    const [fault, ...later] = faults;
    faults = later;
    return fault;
  });
  driver = await createDockerDriver({
    socketPath: engine.socketPath,
    image: BUSYBOX_IMAGE,
    agentPath: await agentBinary(),
    instance: "faulty",
    platform: place,
    logger: silentLogger(),
  });
  slots = createOverlaySlots(new Docker({ socketPath: engine.socketPath }), BUSYBOX_IMAGE, place, silentLogger());
}, 300_000);

beforeEach(() => {
  match = /^POST .*\/start$/;
});

afterAll(async () => {
  await slots?.close();
  await driver?.close();
  engine?.close();
});

const notDone: Fault = { message: SPURIOUS, done: false };
const done: Fault = { message: SPURIOUS, done: true };
const ofSlots = async () => ({
  containers: await docker.listContainers({ all: true, filters: { label: [`${LABEL.slot}=${place}`] } }),
  volumes: (await docker.listVolumes({ filters: { label: [`${LABEL.slot}=${place}`] } })).Volumes,
});

test.each([
  ["did not start", notDone],
  ["did start, and says that it did not", done],
])("a hand whose container the engine %s is made in another one, once", async (_, fault) => {
  faults = [fault];
  const plan = testPlan();
  const hand = await driver.provision(plan);
  expect((await run(hand, shell("echo here"))).output.toString()).toBe("here\n");
  await driver.destroy(plan.handId);

  faults = [fault, fault];
  const hopeless = testPlan();
  await expect(driver.provision(hopeless)).rejects.toMatchObject({
    kind: "unavailable",
    reason: "ENGINE_START_FAILED",
    message: expect.stringContaining(SPURIOUS),
  });
  const filters = { name: [`^/${containerName(hopeless.handId)}$`] };
  expect(await docker.listContainers({ all: true, filters })).toEqual([]);
});

test("a failure that is the container's own is not tried again", async () => {
  const before = engine.failed.length;
  match = /^POST .*\/containers\/create$/;
  faults = [{ message: "no space left on device", done: false }];
  await expect(driver.provision(testPlan())).rejects.toMatchObject({ kind: "unavailable", reason: "ENGINE_FAILED" });
  expect(engine.failed.length).toBe(before + 1);
});

test("a keeper that does not start is made anew, three times at most, and nothing of it stays", async () => {
  faults = [notDone, done];
  const slot = await slots.take(1024 * 1024, 1);
  await slots.close(); // so that no spare one is made
  expect((await ofSlots()).containers.map(({ Names, State }) => [Names[0], State])).toEqual([
    [`/${slot.id}`, "running"],
  ]);
  await slots.remove(slot.id);

  faults = [notDone, notDone, notDone];
  await expect(slots.take(1024 * 1024, 1)).rejects.toMatchObject({ reason: "ENGINE_START_FAILED" });
  expect(await ofSlots()).toEqual({ containers: [], volumes: [] });
});

test("what the engine refuses while repositories are mounted is unavailable, in words, and leaves nothing", async () => {
  match = /^POST .*\/volumes\/create$/;
  faults = [undefined, { message: "no such driver", done: false }]; // the slot's own volume, then the overlay
  const prepared = Promise.resolve({ volume: "manyhands-none", lower: "/nowhere" });
  const mounting = {
    docker: new Docker({ socketPath: engine.socketPath }),
    checkouts: { prepare: () => prepared, forget: () => undefined },
    slots,
    logger: silentLogger(),
  };
  const repositories = [{ url: "https://git.example/a.git", mountPath: "/workspace/a", checkout: "", commit: "a" }];
  await expect(mountRepositories(mounting, testPlan({ repositories }))).rejects.toMatchObject({
    kind: "unavailable",
    reason: "ENGINE_FAILED",
    message: expect.stringContaining("no such driver"),
  });
  expect(await ofSlots()).toEqual({ containers: [], volumes: [] });
});
