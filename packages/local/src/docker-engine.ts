import { existsSync } from "node:fs";
import Docker from "dockerode";
import { messageOf } from "./setup-error.ts";

const PING_MS = 2_000;
const DEFAULT_SOCKET = "/var/run/docker.sock";

/** Whether a Docker Engine answers, and why not. */
export type DockerEngine =
  | { readonly answers: true; readonly docker: Docker; readonly socket: string; readonly version: string }
  | { readonly answers: false; readonly reason: string };

/**
 * Asks the engine named by DOCKER_HOST (unix sockets only: a hand's agent talks over an attached local stream),
 * else the default socket, and gives it 2 s to answer.
 */
export async function findDockerEngine(env: NodeJS.ProcessEnv = process.env): Promise<DockerEngine> {
  const host = env.DOCKER_HOST ?? "";
  if (host !== "" && !host.startsWith("unix://")) {
    return { answers: false, reason: `DOCKER_HOST=${host} is not a unix socket` };
  }
  const socket = host === "" ? defaultSocket(env) : host.slice("unix://".length);
  if (!existsSync(socket)) return { answers: false, reason: `no Docker Engine: ${socket} does not exist` };
  const docker = new Docker({ socketPath: socket });
  const late = AbortSignal.timeout(PING_MS);
  try {
    const version: unknown = await Promise.race([docker.version(), rejectOn(late)]);
    const text =
      typeof version === "object" && version !== null && "Version" in version ? String(version.Version) : "unknown";
    return { answers: true, docker, socket, version: text };
  } catch (error) {
    const reason = late.aborted ? `did not answer within ${PING_MS} ms` : messageOf(error);
    return { answers: false, reason: `Docker Engine at ${socket}: ${reason}` };
  }
}

/** Docker Desktop and rootless engines put their socket into the user's own folders. */
function defaultSocket(env: NodeJS.ProcessEnv): string {
  const candidates = [
    DEFAULT_SOCKET,
    ...(env.XDG_RUNTIME_DIR === undefined ? [] : [`${env.XDG_RUNTIME_DIR}/docker.sock`]),
    ...(env.HOME === undefined ? [] : [`${env.HOME}/.docker/run/docker.sock`]),
  ];
  return candidates.find((path) => existsSync(path)) ?? DEFAULT_SOCKET;
}

function rejectOn(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) =>
    signal.addEventListener("abort", () => reject(new Error("deadline")), { once: true }),
  );
}
