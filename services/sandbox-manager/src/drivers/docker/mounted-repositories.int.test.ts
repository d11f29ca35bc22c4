/** Repositories mounted from prepared checkouts, on a real engine and with real git. */
import { newId, silentLogger } from "@manyhands/kit";
import { eventually } from "@manyhands/testkit";
import Docker from "dockerode";
import { afterAll, beforeAll, expect, test } from "vitest";
import { agentBinary, DEBIAN_IMAGE, ensureTestImages } from "../../testing/test-images.ts";
import { describeMounts } from "../mounts.contract.ts";
import { LABEL } from "./container-spec.ts";
import { createDockerDriver } from "./docker-driver.ts";

const socketPath = "/var/run/docker.sock";
const docker = new Docker({ socketPath });
let commitsAsked: ReadonlySet<string> = new Set();

beforeAll(() => ensureTestImages(docker), 300_000);

afterAll(async () => {
  const { Volumes } = await docker.listVolumes({ filters: { label: [LABEL.checkout] } });
  const used = Volumes.filter((volume) => commitsAsked.has(volume.Labels[LABEL.checkout] ?? ""));
  for (const { Name } of used) await docker.getVolume(Name).remove();
});

describeMounts(
  "docker",
  async (dial) =>
    createDockerDriver({
      socketPath,
      image: DEBIAN_IMAGE,
      agentPath: await agentBinary(),
      instance: "mounts",
      platform: newId("plat"),
      logger: silentLogger(),
      dial,
    }),
  (driver, { mounted, commits }) => {
    commitsAsked = commits;
    test("a destroyed hand leaves no volume and no keeper", async () => {
      const { plan } = await mounted(["other"]);
      const volumes = async () =>
        (await docker.listVolumes({ filters: { label: [`${LABEL.hand}=${plan.handId}`] } })).Volumes;
      const slots = (await volumes()).map((volume) => volume.Labels[LABEL.slot]);
      expect(slots).toHaveLength(1);
      await driver().destroy(plan.handId);
      expect(await volumes()).toEqual([]);
      await eventually(async () => {
        const all = await docker.listContainers({ all: true, filters: { name: slots.map(String) } });
        return all.length === 0;
      });
    });
  },
);
