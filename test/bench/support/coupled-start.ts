/**
 * What a design that couples brain and hand does before it asks the model: it makes a container and clones the
 * repository in it. Measured at its best: the clone is the container's own program, so no `exec` is paid for, and it
 * reaches the git server by the host's network.
 */
import { findDockerEngine } from "@manyhands/local";
import { startGitServer } from "@manyhands/testkit";
import { DEBIAN_IMAGE, ensureTestImages } from "../../../services/sandbox-manager/src/testing/test-images.ts";
import { timed } from "./rows.ts";

const files = 50;
const fileBytes = 2000;

/** Starts as the coupled design does, one at a time. */
export interface CoupledStart {
  /** Milliseconds of one start. */
  once(): Promise<number>;
  stop(): Promise<void>;
}

/** Undefined where no Docker Engine answers. */
export async function prepareCoupledStart(): Promise<CoupledStart | undefined> {
  const engine = await findDockerEngine();
  if (!engine.answers) return undefined;
  const { docker } = engine;
  await ensureTestImages(docker);
  const content = "x".repeat(fileBytes);
  const app = Object.fromEntries(Array.from({ length: files }, (_, index) => [`src/file-${index}.txt`, content]));
  const git = await startGitServer({ repositories: { app } });
  return {
    async once() {
      let remove = async () => {};
      try {
        return await timed(async () => {
          const container = await docker.createContainer({
            Image: DEBIAN_IMAGE,
            Entrypoint: ["git", "clone", "--quiet", git.repoUrl("app"), "/tmp/app"],
            HostConfig: { NetworkMode: "host" },
          });
          remove = async () => container.remove({ force: true });
          await container.start();
          const { StatusCode: code }: { StatusCode: number } = await container.wait();
          if (code !== 0) throw new Error(`the clone in the container ended with ${code}`);
        });
      } finally {
        await remove();
      }
    },
    stop: () => git.stop(),
  };
}
