/**
 * Packages in an image layer that is made once per engine and list: installed in a container, which becomes an image.
 * What is installed runs code of its own, so that container has no volume, no socket and none of our networks' secrets,
 * the capabilities that package managers need and no others, and an end.
 */
import { createHash } from "node:crypto";
import { AppError, type Logger, systemClock } from "@manyhands/kit";
import type Docker from "dockerode";
import { packageScript } from "../../recipe/package-script.ts";
import type { Packages } from "../driver.ts";
import { startContainer, statusOf, withNewContainer } from "./engine.ts";
import { pruneImages, TOUCH_MS } from "./prune-images.ts";
import { SECCOMP_PROFILE } from "./seccomp-profile.ts";

const BUILD_MS = 15 * 60_000;
const WAIT_MS = 500;
const MAX_CONTAINERS = 3;
const PRUNE_MS = 3_600_000;
/** Uses that this manager remembers to have noted. */
const MAX_TOUCHED = 256;
const KEY_DIGITS = 24;
const REPO = "manyhands/packages";
const MEMORY_BYTES = 2 * 1024 ** 3;
const MAX_WORDS = 800;
/** How many lines of a failed installation are looked at for its words. */
const TAIL_LINES = 20;
/** To own what they unpack, and to become the users that their own scripts ask for. */
const CAPABILITIES = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "SETGID", "SETUID", "SETFCAP"];

/** How images are made. */
export type PackageImageOptions = {
  readonly docker: Docker;
  readonly logger: Logger;
  /** Network of the installing container: one that reaches registries, and nothing of the platform. */
  readonly network: string;
};

/** Images with packages, made once and kept as long as they are used. */
export type PackageImages = {
  /** The image of a base with packages. Throws AppError `conflict`/PACKAGES_FAILED with the last words. */
  imageOf(base: string, packages: Packages): Promise<string>;
  /** Removes what is too many or long unused; at most once an hour, the first time at once. Never throws. */
  prune(): void;
};

/** The images of one engine. */
export function createPackageImages(options: PackageImageOptions): PackageImages {
  const { docker, logger } = options;
  const making = new Map<string, Promise<string>>();
  const touchedAtMs = new Map<string, number>();
  let prunedAtMs = Number.NEGATIVE_INFINITY;

  const touch = async (name: string) => {
    const nowMs = systemClock.nowMs();
    if (nowMs - (touchedAtMs.get(name) ?? 0) < TOUCH_MS) return;
    touchedAtMs.delete(name);
    touchedAtMs.set(name, nowMs);
    for (const oldest of touchedAtMs.keys()) if (touchedAtMs.size > MAX_TOUCHED) touchedAtMs.delete(oldest);
    const [repo = "", tag = ""] = name.split(":");
    await docker.getImage(name).tag({ repo, tag });
  };
  const prune = () => {
    prunedAtMs = systemClock.nowMs();
    pruneImages(docker, REPO, logger).catch((error: unknown) =>
      logger.warn({ err: error }, "old images with packages could not be looked through"),
    );
  };
  return {
    async imageOf(base, packages) {
      const { Id: id } = await docker.getImage(base).inspect();
      const key = createHash("sha256").update(JSON.stringify([id, packageScript(packages)]));
      const name = `${REPO}:${key.digest("hex").slice(0, KEY_DIGITS)}`;
      const mine = making.get(name) ?? ensure(options, name, base, packages, prune).finally(() => making.delete(name));
      making.set(name, mine);
      await mine;
      await touch(name);
      return name;
    },
    prune() {
      if (systemClock.nowMs() - prunedAtMs > PRUNE_MS) prune();
    },
  };
}

/** `made` is called after one was made here. */
async function ensure(
  options: PackageImageOptions,
  name: string,
  base: string,
  packages: Packages,
  made: () => void,
): Promise<string> {
  const { docker } = options;
  const until = systemClock.nowMs() + BUILD_MS;
  const container = name.replace("/", "-").replace(":", "-");
  while (!(await isThere(docker, name))) {
    const isMine = await withNewContainer(MAX_CONTAINERS, options.logger, async () => {
      const mine = await create(options, container, base, packages);
      if (mine) await build(options, mine, name);
      return mine !== undefined;
    });
    if (isMine) {
      made();
      return name;
    }
    if (systemClock.nowMs() > until) await remove(docker.getContainer(container)); // whoever made it is dead
    await systemClock.sleep(WAIT_MS); // another manager is at it
  }
  return name;
}

/** Undefined when somebody else has one of this name. */
async function create(
  { docker, network }: PackageImageOptions,
  name: string,
  base: string,
  packages: Packages,
): Promise<Docker.Container | undefined> {
  try {
    return await docker.createContainer({
      name,
      Image: base,
      Entrypoint: ["/bin/sh", "-c", packageScript(packages)],
      Cmd: [],
      User: "0:0",
      WorkingDir: "/",
      Healthcheck: { Test: ["NONE"] },
      HostConfig: {
        NetworkMode: network,
        CapDrop: ["ALL"],
        CapAdd: CAPABILITIES,
        SecurityOpt: ["no-new-privileges", `seccomp=${SECCOMP_PROFILE}`],
        Memory: MEMORY_BYTES,
        MemorySwap: MEMORY_BYTES,
        PidsLimit: 512,
        RestartPolicy: { Name: "no" },
      },
    });
  } catch (error) {
    if (statusOf(error) === 409) return undefined;
    throw error;
  }
}

async function build({ logger }: PackageImageOptions, container: Docker.Container, name: string): Promise<void> {
  const timer = setTimeout(() => void container.kill().catch(() => undefined), BUILD_MS);
  try {
    await startContainer(container);
    const { StatusCode: code }: { StatusCode: number } = await container.wait();
    if (code !== 0) throw failed(code, await lastWords(container));
    const [repo, tag] = name.split(":");
    // The layer is an image like its base: what started the installation does not start with it.
    await container.commit({ repo, tag, changes: 'ENTRYPOINT []\nCMD ["/bin/sh"]' });
    logger.info({ image: name }, "packages were installed into an image");
  } finally {
    clearTimeout(timer);
    await remove(container);
  }
}

function failed(code: number, words: string): AppError {
  const why = words === "" ? `exit code ${code}` : words;
  return AppError.conflict("PACKAGES_FAILED", `the packages of the environment could not be installed: ${why}`);
}

async function lastWords(container: Docker.Container): Promise<string> {
  const log = await container.logs({ stdout: true, stderr: true, tail: TAIL_LINES, follow: false });
  // Each piece stands behind eight bytes that say which of the two it is of; what is left of them is no text.
  const text = Buffer.from(log)
    .toString("utf8")
    .replace(/[^\x20-\x7e\n]+./g, "");
  return text.trim().slice(-MAX_WORDS);
}

async function isThere(docker: Docker, name: string): Promise<boolean> {
  try {
    await docker.getImage(name).inspect();
    return true;
  } catch {
    return false;
  }
}

async function remove(container: Docker.Container): Promise<void> {
  await container.remove({ force: true }).catch(() => undefined); // gone already
}
