/** A small ext4 file system in a file, mounted through a loop device, whose power can be cut. Needs root. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { eventually } from "@manyhands/testkit";
import { runProcess } from "../../support/run-process.ts";

const prefix = "manyhands-loop-";
const commandMs = 60_000;
const unmountMs = 15_000;
const cutter = path.join(import.meta.dirname, "..", "power-cut.py");

/** A mounted image. */
export interface LoopImage {
  /** Where it is mounted. */
  readonly dir: string;
  /** Loses at once what was not flushed; every access fails until `mountAgain`. */
  cutPower(): Promise<void>;
  /** Unmounts, checks that the file system can be repaired without loss of structure, and mounts it again. */
  mountAgain(): Promise<void>;
  /** Unmounts and removes everything. Twice is fine. */
  remove(): Promise<void>;
}

/** Makes and mounts one. Throws with the tool's own words when this machine cannot: never skips. */
export async function loopImage(megabytes: number): Promise<LoopImage> {
  sweepAbandoned();
  const folder = mkdtempSync(path.join(imageRoot(), `${prefix}${process.pid}-`));
  const image = path.join(folder, "image");
  const dir = path.join(folder, "mnt");
  // Also when this process ends in mid-test; a lazy unmount frees the loop device with the last user.
  const atExit = () => removeNow(folder);
  process.once("exit", atExit);
  const remove = async () => {
    process.off("exit", atExit);
    if (isMounted(dir)) await unmount(dir);
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    await mkdir(dir);
    writeFileSync(image, "");
    truncateSync(image, megabytes * 1024 * 1024);
    await must("mkfs.ext4", ["-q", "-F", "-m", "0", image]);
    await must("mount", ["-o", "loop", image, dir]);
  } catch (error) {
    await remove();
    throw error;
  }
  return {
    dir,
    cutPower: () => must("python3", [cutter, dir]),
    async mountAgain() {
      const isGone = await unmount(dir);
      if (!isGone) {
        // Another mount namespace (a sandbox that began meanwhile) keeps the dead file system alive: go on with a copy.
        const copy = `${image}.next`;
        await must("cp", ["--sparse=always", image, copy]);
        rmSync(image);
        renameSync(copy, image);
      }
      // 1 means "repaired": the journal was replayed.
      await must("e2fsck", ["-p", image], [0, 1]);
      await must("mount", ["-o", "loop", image, dir]);
    },
    remove,
  };
}

/** Memory when there is some: only the file system inside the image is under test, and its flushes are fast there. */
function imageRoot(): string {
  return existsSync("/dev/shm") ? "/dev/shm" : tmpdir();
}

async function must(command: string, args: readonly string[], good: readonly number[] = [0]): Promise<void> {
  const { code, stdout, stderr } = await runProcess(command, args, { timeoutMs: commandMs });
  if (code === null || !good.includes(code)) {
    throw new Error(`${command} ${args.join(" ")} ended with ${code}: ${stderr}${stdout}`.trim());
  }
}

/** Processes that were just killed may hold it for a moment. False when others still hold it, out of our sight. */
async function unmount(dir: string): Promise<boolean> {
  const image = path.join(path.dirname(dir), "image");
  try {
    await eventually(() => must("umount", [dir]).then(() => true), { timeoutMs: unmountMs, everyMs: 50 });
  } catch {
    await must("umount", ["-l", dir]);
  }
  const { stdout } = await runProcess("losetup", ["-j", image], { timeoutMs: commandMs });
  return stdout.trim() === "";
}

function isMounted(dir: string): boolean {
  return mountPoints().includes(dir);
}

function mountPoints(): string[] {
  return readFileSync("/proc/mounts", "utf8")
    .split("\n")
    .flatMap((line) => line.split(" ")[1] ?? []);
}

function removeNow(folder: string): void {
  spawnSync("umount", ["-l", path.join(folder, "mnt")], { timeout: commandMs, stdio: "ignore" });
  rmSync(folder, { recursive: true, force: true });
}

/** What a run left behind that was killed before it could clean up: its process is gone, its mount is not. */
function sweepAbandoned(): void {
  for (const mount of mountPoints()) {
    const pid = new RegExp(`/${prefix}(\\d+)-[^/]*/mnt$`).exec(mount)?.[1];
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) removeNow(path.dirname(mount));
  }
}
