/** For tests: the compiled agent, and the two images every driver test runs against. No registry is needed. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { pathToFileURL } from "node:url";
import type Docker from "dockerode";
import tar from "tar-stream";

/** A shell and small tools, nothing else: the least an image can have. */
export const BUSYBOX_IMAGE = "manyhands/hand-busybox:test";
/** Debian with bash, git and python3, as `npm start` makes it. */
export const DEBIAN_IMAGE = "manyhands/hand:dev";

const serviceDir = join(import.meta.dirname, "../..");
const BUSYBOX_PLACES = ["/bin/busybox", "/usr/bin/busybox"];

/** Compiles the agent once per source and returns its path. */
export async function agentBinary(): Promise<string> {
  const built: unknown = await import(pathToFileURL(join(serviceDir, "agent/build.mjs")).href);
  if (
    typeof built !== "object" ||
    built === null ||
    !("buildHandAgent" in built) ||
    typeof built.buildHandAgent !== "function"
  ) {
    throw new TypeError("agent/build.mjs exports no buildHandAgent");
  }
  return String(built.buildHandAgent(join(serviceDir, "../../.manyhands/tools")));
}

/** Makes what is missing: busybox from the machine's own static busybox, Debian by debootstrap. */
export async function ensureTestImages(docker: Docker): Promise<void> {
  if (!(await hasImage(docker, BUSYBOX_IMAGE))) await importBusybox();
  if (!(await hasImage(docker, DEBIAN_IMAGE))) importDebian();
}

async function hasImage(docker: Docker, name: string): Promise<boolean> {
  try {
    await docker.getImage(name).inspect();
    return true;
  } catch {
    return false;
  }
}

async function importBusybox(): Promise<void> {
  if (!BUSYBOX_PLACES.some(existsSync)) {
    execFileSync("apt-get", ["install", "-y", "busybox-static"], {
      stdio: "ignore",
      env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
    });
  }
  const binary = BUSYBOX_PLACES.find(existsSync);
  if (!binary) throw new Error("busybox-static is not on this machine and could not be installed");
  const pack = tar.pack();
  for (const folder of ["bin", "tmp", "proc", "sys", "dev", "etc"]) pack.entry({ name: folder, type: "directory" });
  pack.entry({ name: "bin/busybox", mode: 0o755 }, readFileSync(binary));
  const applets = execFileSync(binary, ["--list"], { encoding: "utf8" }).split("\n");
  for (const applet of applets.filter((name) => /^[\w[-]+$/.test(name) && name !== "busybox")) {
    pack.entry({ name: `bin/${applet}`, type: "symlink", linkname: "busybox" });
  }
  pack.finalize();
  const archive = await buffer(pack);
  execFileSync("docker", ["import", "-", BUSYBOX_IMAGE], { input: archive, stdio: ["pipe", "ignore", "inherit"] });
}

function importDebian(): void {
  const folder = mkdtempSync(join(tmpdir(), "manyhands-debian-"));
  try {
    const include = "--include=git,python3,ca-certificates";
    execFileSync("debootstrap", ["--variant=minbase", include, "bookworm", folder], { stdio: "ignore" });
    execFileSync("sh", ["-c", `tar -C ${folder} -cf - . | docker import - ${DEBIAN_IMAGE}`], { stdio: "ignore" });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
