import { newId, silentLogger } from "@manyhands/kit";
import Docker from "dockerode";
import { beforeAll } from "vitest";
import { describeMemories } from "../../mounts/memories.contract.ts";
import { describeMounts } from "../../mounts/mounts.contract.ts";
import { agentBinary, BUSYBOX_IMAGE, DEBIAN_IMAGE, ensureTestImages } from "../../testing/test-images.ts";
import { describeDriver } from "../driver.contract.ts";
import { createDockerDriver } from "./docker-driver.ts";

const socketPath = "/var/run/docker.sock";

beforeAll(async () => {
  await ensureTestImages(new Docker({ socketPath }));
}, 300_000);

for (const image of [BUSYBOX_IMAGE, DEBIAN_IMAGE]) {
  const make = async () =>
    createDockerDriver({
      socketPath,
      image,
      agentPath: await agentBinary(),
      instance: "contract",
      platform: newId("plat"),
      logger: silentLogger(),
    });
  describeDriver(`docker, ${image}`, { processes: true }, make);
  describeMounts(`docker, ${image}`, make);
  describeMemories(`docker, ${image}`, make);
}
