import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type Docker from "dockerode";
import { afterEach, expect, it } from "vitest";
import { ensureComposeImage, standInLabel } from "./compose-images.ts";
import type { StandIn } from "./compose-stand-ins.ts";
import { importFolder } from "./debian-rootfs.ts";
import { findDockerEngine } from "./docker-engine.ts";

const tag = `manyhands/stand-in-test:${process.pid}`;
const standIn = (content: string): StandIn => ({
  tag,
  from: "scratch",
  lines: ["COPY file /file", 'CMD ["/file"]'],
  files: (folder) => writeFileSync(join(folder, "file"), content),
});
const quiet = () => undefined;

async function engine(): Promise<Docker> {
  const found = await findDockerEngine();
  if (!found.answers) throw new Error(found.reason);
  return found.docker;
}

afterEach(async () => {
  const docker = await engine();
  await docker.getImage(tag).remove({ force: true });
});

it("makes a stand-in once, and again when what it is made from changed", { timeout: 60_000 }, async () => {
  const docker = await engine();
  const idOf = async () => (await docker.getImage(tag).inspect()).Id;
  expect(await ensureComposeImage(docker, standIn("one"), quiet)).toEqual({ tag, source: "stand-in", fresh: true });
  const first = await idOf();
  expect(await ensureComposeImage(docker, standIn("one"), quiet)).toMatchObject({ fresh: false });
  expect(await idOf()).toBe(first);
  expect(await ensureComposeImage(docker, standIn("two"), quiet)).toEqual({ tag, source: "stand-in", fresh: true });
  expect(await idOf()).not.toBe(first);
});

it("never replaces an image that is not a stand-in", { timeout: 60_000 }, async () => {
  const docker = await engine();
  const folder = mkdtempSync(join(tmpdir(), "manyhands-official-"));
  try {
    writeFileSync(join(folder, "official"), "");
    const [repo = "", name = ""] = tag.split(":");
    await importFolder(docker, folder, { repo, tag: name, changes: ['CMD ["/official"]'] });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  expect(await ensureComposeImage(docker, standIn("one"), quiet)).toEqual({ tag, source: "official", fresh: false });
  const { Config } = await docker.getImage(tag).inspect();
  expect(Config.Cmd).toEqual(["/official"]);
  expect(Config.Labels?.[standInLabel]).toBeUndefined();
});
