/**
 * Which package images go: beyond a number, and after a time without use. An engine does not tell when an image was last
 * used, but when it was last tagged: whoever uses one tags it once more, now and then.
 */
import { type Logger, systemClock } from "@manyhands/kit";
import type Docker from "dockerode";
import { statusOf } from "./engine.ts";

/** Package images of one engine, at the most. */
const MAX_IMAGES = 32;
const MAX_UNUSED_MS = 30 * 24 * 3_600_000;
/** How often a use is noted: an image stays at least so long after it was asked for. */
export const TOUCH_MS = 3_600_000;
const NOT_FOUND = 404;

/** A package image. */
export type PackageImage = {
  readonly name: string;
  readonly lastUsedMs: number;
  /** A container stands on it, or it was asked for within the last hours. */
  readonly isInUse: boolean;
};

/** Those to be removed, longest unused first: what is too many, and what nobody wanted for 30 days. */
export function imagesToRemove(images: readonly PackageImage[], nowMs: number): readonly PackageImage[] {
  const free = images.filter(({ isInUse, lastUsedMs }) => !isInUse && nowMs - lastUsedMs > 2 * TOUCH_MS);
  const tooMany = Math.max(0, images.length - MAX_IMAGES);
  return free
    .toSorted((a, b) => a.lastUsedMs - b.lastUsedMs)
    .filter(({ lastUsedMs }, index) => index < tooMany || nowMs - lastUsedMs > MAX_UNUSED_MS);
}

/** Removes what is to go of the repository `repo` and says so in the log. The engine refuses what came into use meanwhile. */
export async function pruneImages(docker: Docker, repo: string, logger: Logger): Promise<void> {
  const going = imagesToRemove(await packageImages(docker, repo), systemClock.nowMs());
  for (const { name, lastUsedMs } of going) {
    const lastUsed = new Date(lastUsedMs).toISOString();
    try {
      await docker.getImage(name).remove();
      logger.info({ image: name, lastUsed }, "an image with packages was removed: too many, or not used for 30 days");
    } catch (error) {
      logger.info({ err: error, image: name, lastUsed }, "an image with packages stays: the engine keeps it");
    }
  }
}

async function packageImages(docker: Docker, repo: string): Promise<PackageImage[]> {
  const [images, containers] = await Promise.all([
    docker.listImages({ filters: { reference: [repo] } }),
    docker.listContainers({ all: true }),
  ]);
  const used = new Set(containers.flatMap(({ Image, ImageID }) => [Image, ImageID]));
  const named = images.flatMap(({ Id, RepoTags }) => (RepoTags ?? []).map((name) => ({ id: Id, name })));
  const found = await Promise.all(
    named.map(async ({ id, name }): Promise<PackageImage | undefined> => {
      const lastUsedMs = await lastUseOf(docker, name);
      return lastUsedMs === undefined ? undefined : { name, lastUsedMs, isInUse: used.has(name) || used.has(id) };
    }),
  );
  return found.filter((image) => image !== undefined);
}

/** Undefined when it is gone. */
async function lastUseOf(docker: Docker, name: string): Promise<number | undefined> {
  try {
    const found: object = await docker.getImage(name).inspect();
    const tagged = "Metadata" in found ? Date.parse(lastTagTime(found.Metadata)) : Number.NaN;
    const created = "Created" in found ? Date.parse(String(found.Created)) : Number.NaN;
    return Math.max(...[tagged, created].filter((time) => !Number.isNaN(time)), 0);
  } catch (error) {
    if (statusOf(error) === NOT_FOUND) return undefined;
    throw error;
  }
}

function lastTagTime(metadata: unknown): string {
  return typeof metadata === "object" && metadata !== null && "LastTagTime" in metadata
    ? String(metadata.LastTagTime)
    : "";
}
