import { silentLogger } from "@manyhands/kit";
import Docker from "dockerode";
import { beforeAll } from "vitest";
import { describeDriver } from "../driver.contract.ts";
import { createDockerDriver } from "./docker-driver.ts";
import { agentBinary, BUSYBOX_IMAGE, DEBIAN_IMAGE, ensureTestImages } from "./test-images.ts";

const socketPath = "/var/run/docker.sock";

beforeAll(async () => {
  await ensureTestImages(new Docker({ socketPath }));
}, 300_000);

for (const image of [BUSYBOX_IMAGE, DEBIAN_IMAGE]) {
  describeDriver(`docker, ${image}`, { processes: true }, async () =>
    createDockerDriver({
      socketPath,
      image,
      agentPath: await agentBinary(),
      instance: "contract",
      logger: silentLogger(),
    }),
  );
}
