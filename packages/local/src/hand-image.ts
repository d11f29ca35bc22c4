import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import type Docker from "dockerode";
import tar from "tar-stream";
import { importBusybox, importDebootstrap } from "./hand-rootfs.ts";
import { rootDir } from "./paths.ts";
import type { Progress } from "./progress.ts";
import { messageOf, SetupError } from "./setup-error.ts";

/** The image hands are made from unless a recipe names another. */
export const handImage = "manyhands/hand:dev";
/** Labels every image of ours carries: the hash of what it was made from, and how it was made. */
export const handLabels = { hash: "dev.manyhands.hand.hash", source: "dev.manyhands.hand.source" } as const;

const BUILD_MS = 150_000;
const HASH_CHARS = 16;

/** The image and how it came to be. */
export interface HandImage {
  readonly image: string;
  readonly source: "dockerfile" | "debootstrap" | "busybox";
  /** Empty unless something a normal hand has is missing. */
  readonly missing: string;
}

/**
 * Makes sure the hand image exists on this engine: kept when it was made from the same description, else built
 * from deploy/hand/Dockerfile, else a Debian root file system made here, else busybox alone. Each way is bounded.
 */
export async function ensureHandImage(docker: Docker, progress: Progress): Promise<HandImage> {
  const description = readFileSync(join(rootDir, "deploy", "hand", "Dockerfile"), "utf8");
  const hash = createHash("sha256").update(description).digest("hex").slice(0, HASH_CHARS);
  const existing = await existingImage(docker, hash);
  if (existing !== undefined) return existing;
  const problems: string[] = [];
  const ways = [
    { source: "dockerfile", make: () => buildFromDockerfile(docker, description, hash, progress) },
    { source: "debootstrap", make: () => importDebootstrap(docker, labelsFor(hash, "debootstrap"), progress) },
    { source: "busybox", make: () => importBusybox(docker, labelsFor(hash, "busybox"), progress) },
  ] as const;
  for (const way of ways) {
    try {
      await way.make();
      return described(way.source);
    } catch (error) {
      const details = error instanceof SetupError ? ` ${error.details}` : "";
      problems.push(`- ${way.source}: ${messageOf(error)}${details}`);
      progress(`hand image from ${way.source}: not possible here (${messageOf(error).split("\n")[0]})`);
    }
  }
  throw new SetupError("the image for hands could not be made", {
    advice: `Give the engine a way to pull debian:bookworm-slim, or import an image named ${handImage} yourself.`,
    details: problems.join("\n"),
  });
}

/** The image on this engine if it was made from the current description. */
export async function findHandImage(docker: Docker): Promise<HandImage | undefined> {
  const description = readFileSync(join(rootDir, "deploy", "hand", "Dockerfile"), "utf8");
  return existingImage(docker, createHash("sha256").update(description).digest("hex").slice(0, HASH_CHARS));
}

async function existingImage(docker: Docker, hash: string): Promise<HandImage | undefined> {
  try {
    const { Config } = await docker.getImage(handImage).inspect();
    const labels: Readonly<Record<string, string>> = Config.Labels ?? {};
    if (labels[handLabels.hash] !== hash) return undefined;
    return described(labels[handLabels.source] ?? "");
  } catch {
    return undefined;
  }
}

function described(source: string): HandImage {
  if (source === "busybox") {
    return {
      image: handImage,
      source,
      missing: "git and python3 (only busybox could be had without an image registry or root)",
    };
  }
  return { image: handImage, source: source === "debootstrap" ? "debootstrap" : "dockerfile", missing: "" };
}

function labelsFor(hash: string, source: HandImage["source"]): Record<string, string> {
  return { [handLabels.hash]: hash, [handLabels.source]: source };
}

async function buildFromDockerfile(
  docker: Docker,
  description: string,
  hash: string,
  progress: Progress,
): Promise<void> {
  progress("building the hand image from deploy/hand/Dockerfile");
  const context = tar.pack();
  context.entry({ name: "Dockerfile" }, description);
  context.finalize();
  const abort = AbortSignal.timeout(BUILD_MS);
  const stream = await docker.buildImage(Readable.from(context), {
    t: handImage,
    labels: labelsFor(hash, "dockerfile"),
    abortSignal: abort,
  });
  await new Promise<void>((resolve, reject) => {
    docker.modem.followProgress(stream, (error, output: unknown[]) => {
      const failed = error?.message ?? output.map(errorOf).find((text) => text !== undefined);
      if (failed === undefined) resolve();
      else reject(new SetupError(abort.aborted ? `no image after ${BUILD_MS} ms` : failed, { advice: "" }));
    });
  });
}

function errorOf(line: unknown): string | undefined {
  if (typeof line !== "object" || line === null || !("error" in line)) return undefined;
  return String(line.error);
}
