import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type Docker from "dockerode";
import { type AptArchive, downloadDebPackage, findAptArchive } from "./apt-download.ts";
import { installBinary } from "./install-binary.ts";
import type { Progress } from "./progress.ts";
import { lastLines, runCommand } from "./run-command.ts";
import { SetupError } from "./setup-error.ts";

const DEBOOTSTRAP_MS = 300_000;
const IMPORT_MS = 120_000;
const IMAGE = { repo: "manyhands/hand", tag: "dev" } as const;
const DEBOOTSTRAP_SHARE = "/usr/share/debootstrap";

type Labels = Readonly<Record<string, string>>;

/** Makes a minimal Debian (or Ubuntu) root file system from this machine's own mirror and imports it. Needs root and apt. */
export async function importDebootstrap(docker: Docker, labels: Labels, progress: Progress): Promise<void> {
  const archive = findAptArchive();
  if (archive === undefined) throw new SetupError("needs a Debian or Ubuntu machine", { advice: "" });
  if (process.getuid?.() !== 0) throw new SetupError("needs root", { advice: "" });
  const work = mkdtempSync(join(tmpdir(), "manyhands-hand-"));
  try {
    const tool = await debootstrapTool(archive, work, progress);
    progress(`making the hand image with debootstrap from ${archive.mirror} (about a minute, once)`);
    const root = join(work, "root");
    const { code, output } = await runCommand({
      command: tool.command,
      args: [
        "--variant=minbase",
        "--include=git,python3,ca-certificates",
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
    await importFolder(docker, root, labels);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** The last resort: busybox-static alone, which has a shell and the usual small tools but neither git nor Python. */
export async function importBusybox(docker: Docker, labels: Labels, progress: Progress): Promise<void> {
  const archive = findAptArchive();
  if (archive === undefined) throw new SetupError("needs a Debian or Ubuntu machine", { advice: "" });
  progress("making a hand image of busybox alone");
  const work = mkdtempSync(join(tmpdir(), "manyhands-hand-"));
  try {
    await downloadDebPackage(archive, archive.codename, "busybox-static", join(work, "deb"));
    const root = join(work, "root");
    for (const folder of ["bin", "etc", "tmp", "proc", "sys", "dev", "root", "workspace"]) {
      mkdirSync(join(root, folder), { recursive: true });
    }
    const unpacked = [join(work, "deb", "bin", "busybox"), join(work, "deb", "usr", "bin", "busybox")].find(existsSync);
    if (unpacked === undefined) throw new SetupError("the busybox package has another layout", { advice: "" });
    installBinary(unpacked, join(root, "bin", "busybox"));
    const applets = await runCommand({ command: unpacked, args: ["--list"], timeoutMs: 5_000 });
    for (const applet of applets.output.split("\n").filter((name) => /^[\w[-]+$/.test(name) && name !== "busybox")) {
      symlinkSync("busybox", join(root, "bin", applet));
    }
    await importFolder(docker, root, labels);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
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

/** Streams the folder as a tar into the engine; nothing of it touches the disk twice. */
async function importFolder(docker: Docker, root: string, labels: Labels): Promise<void> {
  const packer = spawn("tar", ["--numeric-owner", "--one-file-system", "-C", root, "-cf", "-", "."], {
    stdio: ["ignore", "pipe", "ignore"],
    timeout: IMPORT_MS,
  });
  const packed = exitOf(packer);
  const changes = Object.entries(labels).map(([name, value]) => `LABEL ${name}=${value}`);
  const answer = await docker.importImage(packer.stdout, { ...IMAGE, changes: [...changes, 'CMD ["/bin/sh"]'] });
  await new Promise<void>((resolve, reject) => {
    docker.modem.followProgress(answer, (error) => (error === null ? resolve() : reject(error)));
  });
  const code = await packed;
  if (code !== 0) throw new SetupError(`tar ended with ${code}`, { advice: "" });
}

function exitOf(child: ChildProcess): Promise<number | null> {
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
}
