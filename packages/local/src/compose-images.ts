import { createHash } from "node:crypto";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type Docker from "dockerode";
import { caBundle, type StandIn, standIns } from "./compose-stand-ins.ts";
import { importFolder, makeDebianRoot, packFolder } from "./debian-rootfs.ts";
import { ensureNatsServer } from "./nats-server.ts";
import type { Progress } from "./progress.ts";
import { messageOf, SetupError } from "./setup-error.ts";

/** The label that tells a stand-in from an official image; its value is the hash of what it was made from. */
export const standInLabel = "dev.manyhands.stand-in";

const PULL_MS = 300_000;
const BUILD_MS = 180_000;
const HASH_CHARS = 16;

/** One official image as this engine has it. */
export interface ComposeImage {
  readonly tag: string;
  readonly source: "official" | "stand-in";
  /** False when it was there already. */
  readonly fresh: boolean;
}

/**
 * Makes sure this engine has every official image that our compose file and Dockerfiles name: kept when it is there,
 * pulled where a registry answers, else stood in. A stand-in is remade when what it was made from has changed; an
 * official image is never replaced.
 */
export async function ensureComposeImages(docker: Docker, progress: Progress): Promise<readonly ComposeImage[]> {
  const nats = await ensureNatsServer(progress);
  const images: ComposeImage[] = [];
  for (const standIn of standIns(nats.path)) images.push(await ensureComposeImage(docker, standIn, progress));
  return images;
}

/** The same for one image. */
export async function ensureComposeImage(docker: Docker, standIn: StandIn, progress: Progress): Promise<ComposeImage> {
  const { tag } = standIn;
  const work = mkdtempSync(join(tmpdir(), "manyhands-stand-in-"));
  try {
    const existing = await imageOf(docker, tag);
    if (existing !== undefined && existing.hash === undefined) return { tag, source: "official", fresh: false };
    const folder = join(work, "context");
    mkdirSync(folder);
    standIn.files(folder);
    const hash = await hashOf(docker, standIn, folder);
    if (existing?.hash === hash) return { tag, source: "stand-in", fresh: false };
    const problem = existing === undefined ? await pull(docker, tag) : "the stand-in here is out of date";
    if (problem === undefined) return { tag, source: "official", fresh: true };
    progress(`making a stand-in for ${tag} (${problem})`);
    const make = standIn.from === undefined ? importStandIn : buildStandIn;
    await make({ docker, standIn, work, folder, label: `${standInLabel}=${hash}`, progress });
    return { tag, source: "stand-in", fresh: true };
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

async function imageOf(docker: Docker, tag: string): Promise<{ id: string; hash: string | undefined } | undefined> {
  try {
    const { Id, Config } = await docker.getImage(tag).inspect();
    const labels: Readonly<Record<string, string>> = Config.Labels ?? {};
    return { id: Id, hash: labels[standInLabel] };
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

function isNotFound(error: unknown): boolean {
  return typeof error === "object" && error !== null && "statusCode" in error && error.statusCode === 404;
}

/** Over the parent, the description and every file: the same hash means the same image. */
async function hashOf(docker: Docker, { tag, from, packages, lines }: StandIn, folder: string): Promise<string> {
  const parent = from === undefined ? certificates() : (await imageOf(docker, from))?.id;
  const hash = createHash("sha256").update(JSON.stringify({ tag, parent, packages, lines }));
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  for (const path of files.map((entry) => join(entry.parentPath, entry.name)).sort()) {
    hash.update(path.slice(folder.length)).update(readFileSync(path));
  }
  return hash.digest("hex").slice(0, HASH_CHARS);
}

function certificates(): string {
  return existsSync(caBundle) ? createHash("sha256").update(readFileSync(caBundle)).digest("hex") : "";
}

/** Answers why it could not be pulled. */
async function pull(docker: Docker, tag: string): Promise<string | undefined> {
  try {
    const abortSignal = AbortSignal.timeout(PULL_MS);
    await finished(docker, await docker.pull(tag, { abortSignal }));
    return undefined;
  } catch (error) {
    return messageOf(error).split("\n")[0]?.slice(0, 160);
  }
}

interface Making {
  readonly docker: Docker;
  readonly standIn: StandIn;
  readonly work: string;
  readonly folder: string;
  readonly label: string;
  readonly progress: Progress;
}

async function importStandIn({ docker, standIn, work, label, progress }: Making): Promise<void> {
  const root = await makeDebianRoot(work, standIn.packages ?? [], progress);
  if (existsSync(caBundle)) cpSync(caBundle, join(root, caBundle), { dereference: true });
  const [repo = "", tag = ""] = standIn.tag.split(":");
  await importFolder(docker, root, { repo, tag, changes: [...standIn.lines, `LABEL ${label}`] });
}

async function buildStandIn({ docker, standIn, folder, label }: Making): Promise<void> {
  const dockerfile = [`FROM ${standIn.from}`, ...standIn.lines, `LABEL ${label}`, ""].join("\n");
  writeFileSync(join(folder, "Dockerfile"), dockerfile);
  const { stream, packed } = packFolder(folder);
  const abortSignal = AbortSignal.timeout(BUILD_MS);
  await finished(docker, await docker.buildImage(stream, { t: standIn.tag, forcerm: true, abortSignal }));
  await packed;
}

/** The engine tells failures in the stream of progress, after status 200. */
function finished(docker: Docker, answer: NodeJS.ReadableStream): Promise<void> {
  return new Promise((resolve, reject) => {
    docker.modem.followProgress(answer, (error, output: unknown[]) => {
      const failed = error?.message ?? output.map(errorOf).find((text) => text !== undefined);
      if (failed === undefined) resolve();
      else reject(new SetupError(failed, { advice: "", details: output.slice(-5).map(textOf).join("") }));
    });
  });
}

function errorOf(line: unknown): string | undefined {
  return typeof line === "object" && line !== null && "error" in line ? String(line.error) : undefined;
}

function textOf(line: unknown): string {
  return typeof line === "object" && line !== null && "stream" in line ? String(line.stream) : "";
}
