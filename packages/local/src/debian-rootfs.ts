import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import type Docker from "dockerode";
import { type AptArchive, downloadDebPackage, findAptArchive } from "./apt-download.ts";
import type { Progress } from "./progress.ts";
import { lastLines, runCommand } from "./run-command.ts";
import { SetupError } from "./setup-error.ts";

const DEBOOTSTRAP_MS = 300_000;
const PACK_MS = 120_000;
const DEBOOTSTRAP_SHARE = "/usr/share/debootstrap";

/**
 * Makes a minimal Debian (or Ubuntu) root file system with these packages from this machine's own mirror, in a new
 * folder `root` of `work`, and answers that folder. Needs root and apt; takes about a minute.
 */
export async function makeDebianRoot(work: string, packages: readonly string[], progress: Progress): Promise<string> {
  const archive = findAptArchive();
  if (archive === undefined) throw new SetupError("needs a Debian or Ubuntu machine", { advice: "" });
  if (process.getuid?.() !== 0) throw new SetupError("needs root", { advice: "" });
  const tool = await debootstrapTool(archive, work, progress);
  progress(`making a root file system with debootstrap from ${archive.mirror} (about a minute, once)`);
  const root = join(work, "root");
  const { code, output } = await runCommand({
    command: tool.command,
    args: [
      "--variant=minbase",
      `--include=${packages.join(",")}`,
      `--keyring=${archive.keyring}`,
      archive.codename,
      root,
      archive.mirror,
    ],
    env: { ...process.env, ...tool.env, LC_ALL: "C" },
    timeoutMs: DEBOOTSTRAP_MS,
  });
  if (code !== 0) throw new SetupError("debootstrap failed", { advice: "", details: lastLines(output, 5) });
  for (const waste of ["var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc", "usr/share/man"]) {
    rmSync(join(root, waste), { recursive: true, force: true });
  }
  return root;
}

/** Where an imported image goes and what it says about itself; `changes` are lines of a Dockerfile. */
export interface ImportTarget {
  readonly repo: string;
  readonly tag: string;
  readonly changes: readonly string[];
}

/** Streams a folder as a tar into the engine, as an image; nothing of it touches the disk twice. */
export async function importFolder(docker: Docker, root: string, target: ImportTarget): Promise<void> {
  const { stream, packed } = packFolder(root);
  const answer = await docker.importImage(stream, { ...target, changes: [...target.changes] });
  await new Promise<void>((resolve, reject) => {
    docker.modem.followProgress(answer, (error) => (error === null ? resolve() : reject(error)));
  });
  await packed;
}

/** A folder as a tar with its owners and modes; `packed` rejects when packing did not come to its end. */
export function packFolder(folder: string): { readonly stream: NodeJS.ReadableStream; readonly packed: Promise<void> } {
  const packer = spawn("tar", ["--numeric-owner", "--one-file-system", "-C", folder, "-cf", "-", "."], {
    stdio: ["ignore", "pipe", "ignore"],
    timeout: PACK_MS,
  });
  const packed = exitOf(packer).then((code) => {
    if (code !== 0) throw new SetupError(`tar ended with ${code}`, { advice: "" });
  });
  return { stream: packer.stdout, packed };
}

/**
 * Debian's script needs no installation, only to know where its own files are, so a private copy will do where
 * wget is there for it to download with. Only without wget is the package installed.
 */
async function debootstrapTool(archive: AptArchive, work: string, progress: Progress) {
  if (existsSync("/usr/sbin/debootstrap") && existsSync(DEBOOTSTRAP_SHARE)) {
    return { command: "/usr/sbin/debootstrap", env: {} };
  }
  const wget = await runCommand({ command: "wget", args: ["--version"], timeoutMs: 5_000 });
  if (wget.code !== 0) return installDebootstrap(progress);
  progress("fetching debootstrap (unpacked into a temporary folder, not installed)");
  const home = join(work, "debootstrap");
  await downloadDebPackage(archive, archive.codename, "debootstrap", home);
  return { command: join(home, "usr/sbin/debootstrap"), env: { DEBOOTSTRAP_DIR: join(home, "usr/share/debootstrap") } };
}

async function installDebootstrap(progress: Progress) {
  progress("installing debootstrap with apt-get");
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive", LC_ALL: "C" };
  for (const args of [["update"], ["install", "-y", "--no-install-recommends", "debootstrap"]]) {
    const { code, output } = await runCommand({ command: "apt-get", args, timeoutMs: DEBOOTSTRAP_MS, env });
    if (code !== 0)
      throw new SetupError("debootstrap could not be installed", { advice: "", details: lastLines(output, 5) });
  }
  return { command: "/usr/sbin/debootstrap", env: {} };
}

function exitOf(child: ChildProcess): Promise<number | null> {
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
}
