import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type Docker from "dockerode";
import { downloadDebPackage, findAptArchive } from "./apt-download.ts";
import { type ImportTarget, importFolder, makeDebianRoot } from "./debian-rootfs.ts";
import { installBinary } from "./install-binary.ts";
import type { Progress } from "./progress.ts";
import { runCommand } from "./run-command.ts";
import { SetupError } from "./setup-error.ts";

type Labels = Readonly<Record<string, string>>;

/** Makes the hand image from this machine's own mirror with debootstrap. Needs root and apt. */
export async function importDebootstrap(docker: Docker, labels: Labels, progress: Progress): Promise<void> {
  const work = mkdtempSync(join(tmpdir(), "manyhands-hand-"));
  try {
    const root = await makeDebianRoot(work, ["git", "python3", "ca-certificates"], progress);
    await importFolder(docker, root, handTarget(labels));
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
    await importFolder(docker, root, handTarget(labels));
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function handTarget(labels: Labels): ImportTarget {
  const changes = Object.entries(labels).map(([name, value]) => `LABEL ${name}=${value}`);
  return { repo: "manyhands/hand", tag: "dev", changes: [...changes, 'CMD ["/bin/sh"]'] };
}
