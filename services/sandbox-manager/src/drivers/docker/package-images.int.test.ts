/** Packages in an image layer, from Debian's real registry. */
import { newId, silentLogger } from "@manyhands/kit";
import Docker from "dockerode";
import { afterAll, beforeAll, expect, test } from "vitest";
import { agentBinary, BUSYBOX_IMAGE, DEBIAN_IMAGE, ensureTestImages } from "../../testing/test-images.ts";
import { run, shell, testPlan } from "../driver.contract.ts";
import type { Driver, Packages } from "../driver.ts";
import { createDockerDriver } from "./docker-driver.ts";

const socketPath = "/var/run/docker.sock";
const docker = new Docker({ socketPath });
const none: Packages = { apt: [], cargo: [], gem: [], go: [], npm: [], pip: [] };
const made: string[] = [];
const images = new Set<string>();
let drivers: Driver[] = [];

beforeAll(async () => {
  await ensureTestImages(docker);
  const shared = { socketPath, image: DEBIAN_IMAGE, agentPath: await agentBinary(), platform: newId("plat") };
  drivers = await Promise.all(
    ["one", "two"].map((instance) => createDockerDriver({ ...shared, instance, logger: silentLogger() })),
  );
}, 300_000);

afterAll(async () => {
  for (const handId of made) await drivers[0]?.destroy(handId);
  for (const driver of drivers) await driver.close();
  for (const image of images) await docker.getImage(image).remove({ force: true });
});

function provision(driver: Driver | undefined, packages: Packages, image = "") {
  const plan = testPlan({ image, packages });
  made.push(plan.handId);
  if (!driver) throw new Error("no driver");
  return driver.provision(plan).then(async (hand) => {
    const { Config: config } = await docker.getContainer(`manyhands-${plan.handId}`).inspect();
    images.add(config.Image);
    return hand;
  });
}

test("two managers that want the same packages at once make one image, and hands have them", async () => {
  const packages = { ...none, apt: ["hello"] };
  const hands = await Promise.all(drivers.map((driver) => provision(driver, packages)));
  for (const hand of hands) {
    const { output } = await run(hand, shell("hello; id -u; touch /usr/bin/x 2>&1 | grep -c Read-only"));
    expect(output.toString()).toBe("Hello, world!\n65532\n1\n");
  }
  expect([...images]).toEqual([expect.stringMatching(/^manyhands\/packages:[0-9a-f]{24}$/)]);
}, 120_000);

test("what cannot be installed is told in the manager's own words, and leaves nothing behind", async () => {
  const packages = { ...none, apt: ["hello"] };
  await expect(provision(drivers[0], packages, BUSYBOX_IMAGE)).rejects.toMatchObject({
    reason: "PACKAGES_FAILED",
    message: expect.stringContaining("apt-get: not found"),
  });
  expect(await docker.listContainers({ all: true, filters: { name: ["^/manyhands-packages-"] } })).toEqual([]);
});
