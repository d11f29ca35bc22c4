/**
 * What a design that couples brain and hand does before it asks the model: it makes the container that will be the
 * session's sandbox, on the engine's own network, and clones the repository in it. Measured at its best: the image is
 * there, the repository is mounted from this machine, so that the clone asks no network, and the loop that would ask the
 * model starts in no time.
 */
import { execFileSync } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { finished } from "node:stream/promises";
import { findDockerEngine } from "@manyhands/local";
import { tempDir } from "@manyhands/testkit";
import { DEBIAN_IMAGE, ensureTestImages } from "../../../services/sandbox-manager/src/testing/test-images.ts";
import { repositoryContent } from "./repository.ts";
import { timed } from "./rows.ts";

const mount = "/srv/app.git";

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
  const folder = await tempDir("manyhands-coupled-");
  const repository = await createRepository(folder.path);
  return {
    async once() {
      let remove = async () => {};
      try {
        return await timed(async () => {
          const container = await docker.createContainer({
            Image: DEBIAN_IMAGE,
            Entrypoint: ["sleep", "600"],
            HostConfig: { Binds: [`${repository}:${mount}:ro`] },
          });
          remove = async () => container.remove({ force: true });
          await container.start();
          const clone = await container.exec({
            Cmd: ["git", "clone", "--quiet", `file://${mount}`, "/tmp/app"],
            AttachStdout: true,
            AttachStderr: true,
          });
          const output = await clone.start({});
          await finished(output.resume(), { writable: false });
          const { ExitCode: code } = await clone.inspect();
          if (code !== 0) throw new Error(`the clone in the container ended with ${code}`);
        });
      } finally {
        await remove();
      }
    },
    stop: () => folder.cleanup(),
  };
}

/** A bare repository of one commit. */
async function createRepository(folder: string): Promise<string> {
  const work = path.join(folder, "work");
  for (const [name, content] of Object.entries(repositoryContent())) {
    await mkdir(path.join(work, path.dirname(name)), { recursive: true });
    await writeFile(path.join(work, name), content);
  }
  const git = (...args: string[]) => execFileSync("git", ["-C", work, ...args], { stdio: "ignore" });
  git("init", "--quiet", "--initial-branch=main");
  git("add", ".");
  git("-c", "user.name=bench", "-c", "user.email=bench@localhost", "commit", "--quiet", "-m", "first");
  const bare = path.join(folder, "app.git");
  execFileSync("git", ["clone", "--quiet", "--bare", work, bare], { stdio: "ignore" });
  execFileSync("git", ["-C", bare, "repack", "-adq"], { stdio: "ignore" }); // as a git host keeps it
  return bare;
}
