import { describe, expect, it } from "vitest";
import { findDockerEngine } from "./docker-engine.ts";
import { ensureHandImage } from "./hand-image.ts";

describe("the hand image", () => {
  it("is made once and kept, and has what its source promises", { timeout: 300_000 }, async () => {
    const engine = await findDockerEngine();
    if (!engine.answers) throw new Error(engine.reason);
    const first = await ensureHandImage(engine.docker, () => undefined);
    const told: string[] = [];
    expect(await ensureHandImage(engine.docker, (text) => told.push(text))).toEqual(first);
    expect(told).toEqual([]);

    const probe =
      first.source === "busybox" ? ["/bin/sh", "-c", "true"] : ["/bin/sh", "-c", "git --version && python3 --version"];
    const container = await engine.docker.createContainer({ Image: first.image, Cmd: probe, NetworkDisabled: true });
    try {
      await container.start();
      expect((await container.wait()).StatusCode).toBe(0);
    } finally {
      await container.remove({ force: true });
    }
  });

  it("says why when no engine answers", async () => {
    expect(await findDockerEngine({ DOCKER_HOST: "unix:///nowhere/docker.sock" })).toEqual({
      answers: false,
      reason: "no Docker Engine: /nowhere/docker.sock does not exist",
    });
    expect(await findDockerEngine({ DOCKER_HOST: "tcp://10.0.0.1:2375" })).toMatchObject({ answers: false });
  });
});
