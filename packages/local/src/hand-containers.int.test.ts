import { expect, it } from "vitest";
import { findDockerEngine } from "./docker-engine.ts";
import { listHandIds, removeHandContainers } from "./hand-containers.ts";
import { ensureHandImage } from "./hand-image.ts";

it("removes the containers of the named hands and leaves those of other platforms alone", async () => {
  const engine = await findDockerEngine();
  if (!engine.answers) throw new Error(engine.reason);
  const { docker, socket } = engine;
  const { image } = await ensureHandImage(docker, () => undefined);
  const mark = `${process.pid}-${Date.now()}`;
  const make = (hand: string) =>
    docker.createContainer({ Image: image, Cmd: ["/bin/sh"], Labels: { "dev.manyhands.hand": hand } });
  const [ours, theirs] = await Promise.all([make(`hand_ours_${mark}`), make(`hand_theirs_${mark}`)]);
  try {
    await removeHandContainers(socket, [`hand_ours_${mark}`, "hand_that_never_was"]);
    await expect(ours.inspect()).rejects.toMatchObject({ statusCode: 404 });
    expect((await theirs.inspect()).Id).toBe(theirs.id);
  } finally {
    await theirs.remove({ force: true });
  }
});

it("does not hold up a stop when no manager answers", async () => {
  const startedAt = performance.now();
  expect(await listHandIds("127.0.0.1:9")).toEqual([]);
  expect(performance.now() - startedAt).toBeLessThan(4_000);
});
