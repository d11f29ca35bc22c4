import { PassThrough } from "node:stream";
import type Docker from "dockerode";
import { findDockerEngine } from "../docker-engine.ts";
import { SetupError } from "../setup-error.ts";

const maxSweepBytes = 256 * 1024 * 1024;
const sweepMs = 30_000;

/** Everything that a process in the hand can read and that could hold a credential, as one stream of bytes. */
const sweepScript = [
  "env",
  "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null",
  "find /workspace /tmp /etc /root /home /run /mnt /.manyhands -xdev -type f -size -8192k -exec cat {} + 2>/dev/null",
  "true",
].join("; ");

async function engine(): Promise<Docker> {
  const found = await findDockerEngine();
  if (!found.answers) throw new SetupError("no Docker engine answers", { advice: found.reason });
  return found.docker;
}

/** Ids of the containers that are hands of this session. */
export async function containersOfSession(sessionId: string): Promise<string[]> {
  const docker = await engine();
  const found = await docker.listContainers({ filters: { label: [`dev.manyhands.session=${sessionId}`] } });
  return found.map(({ Id }) => Id);
}

/** SIGKILLs the session's containers; answers how many there were. */
export async function killContainers(sessionId: string): Promise<number> {
  const docker = await engine();
  const ids = await containersOfSession(sessionId);
  await Promise.all(ids.map((id) => docker.getContainer(id).kill({ signal: "SIGKILL" })));
  return ids.length;
}

/** What a look into a hand found. */
export interface Sweep {
  readonly bytes: number;
  readonly found: boolean;
}

/**
 * Looks for a secret in a running container from outside: environment, command lines and files, once as the tools'
 * user and once as root, so the secret itself never goes in. Throws when the sweep could not read anything.
 */
export async function sweepContainer(containerId: string, secret: string): Promise<Sweep> {
  let bytes = 0;
  let found = false;
  for (const user of ["65532:65532", "0:0"]) {
    const output = await readContainer(containerId, user);
    bytes += output.length;
    found ||= output.includes(secret) || output.includes(Buffer.from(`x-access-token:${secret}`).toString("base64"));
  }
  if (bytes === 0) throw new SetupError("the look into the sandbox read nothing", { advice: "" });
  return { bytes, found };
}

/** What this user (`uid:gid`) can read in a container: environment, command lines and files, one after the other. */
export async function readContainer(containerId: string, user: string): Promise<Buffer> {
  const docker = await engine();
  const container = docker.getContainer(containerId);
  const exec = await container.exec({ Cmd: ["/bin/sh", "-c", sweepScript], User: user, AttachStdout: true });
  return readAll(docker, await exec.start({}));
}

async function readAll(docker: Docker, stream: NodeJS.ReadWriteStream): Promise<Buffer> {
  const output = new PassThrough();
  docker.modem.demuxStream(stream, output, output);
  stream.once("end", () => output.end());
  stream.once("close", () => output.end());
  const timer = setTimeout(() => output.destroy(new Error(`the sweep took longer than ${sweepMs} ms`)), sweepMs);
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of output as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > maxSweepBytes) throw new Error(`the sandbox holds more than ${maxSweepBytes} readable bytes`);
      chunks.push(chunk);
    }
  } finally {
    clearTimeout(timer);
  }
  return Buffer.concat(chunks);
}
