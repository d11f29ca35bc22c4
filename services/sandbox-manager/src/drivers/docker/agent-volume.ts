import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { buffer } from "node:stream/consumers";
import type Docker from "dockerode";
import tar from "tar-stream";
import { AGENT_FILE } from "./container-spec.ts";

const MOUNT = "/agent";
const HASH_DIGITS = 16;

/**
 * A volume that holds the agent's binary, named after its content, filled through a container that is never started.
 * A bind mount would need the manager and the engine to share a file system; this needs the engine's socket alone.
 * The archive is not compressed: unpacking compressed ones has been a hole in the engine (CVE-2026-41567).
 */
export async function ensureAgentVolume(docker: Docker, image: string, binaryPath: string): Promise<string> {
  const binary = await readFile(binaryPath);
  const hash = createHash("sha256").update(binary).digest("hex").slice(0, HASH_DIGITS);
  const name = `manyhands-agent-${hash}`;
  await docker.createVolume({ Name: name, Labels: { "dev.manyhands.agent": hash } });
  const helper = await docker.createContainer({
    Image: image,
    Entrypoint: ["/never-started"],
    NetworkDisabled: true,
    Labels: { "dev.manyhands.agent": hash },
    HostConfig: { NetworkMode: "none", Mounts: [{ Type: "volume", Source: name, Target: MOUNT }] },
  });
  try {
    if (!(await isFilled(helper))) {
      const pack = tar.pack();
      pack.entry({ name: AGENT_FILE, mode: 0o555, uid: 0, gid: 0, size: binary.length }, binary);
      pack.finalize();
      const archive = await buffer(pack);
      await helper.putArchive(archive, { path: MOUNT });
    }
  } finally {
    await helper.remove({ force: true });
  }
  return name;
}

/** Archives are unpacked file by file; the name carries the content's hash, so what is there is right. */
async function isFilled(helper: Docker.Container): Promise<boolean> {
  try {
    await helper.infoArchive({ path: `${MOUNT}/${AGENT_FILE}` });
    return true;
  } catch {
    return false;
  }
}
