import type Docker from "dockerode";
import { PROXY_ENV, TUNNEL_PORT } from "../../egress/proxy-env.ts";
import { ALONE_MS, type HandPlan } from "../driver.ts";
import { ENGINE_RUNTIME, type HandRuntime } from "./runtime.ts";
import { SECCOMP_PROFILE } from "./seccomp-profile.ts";

/** The tool user's number, in no image's /etc/passwd; the agent alone is root, with three capabilities. */
export const TOOL_UID = 65_532;
const TMP_BYTES = 256 * 1024 * 1024;
const HOME_BYTES = 64 * 1024 * 1024;
/** 64 MiB of spools, and the scripts, bodies and entries beside them. */
const JOURNAL_BYTES = 128 * 1024 * 1024;
const OUTPUTS_BYTES = 128 * 1024 * 1024;
const UPLOADS_BYTES = 128 * 1024 * 1024;
const MEMORY_BYTES = 64 * 1024 * 1024;
const RUN_BYTES = 32 * 1024 * 1024;
const SHM_BYTES = 16 * 1024 * 1024;
const NANO_PER_MILLI = 1_000_000;
const PAGE_BYTES = 4096;
const MIN_FILES = 16_384;

/** Where in a hand the agent's binary lies, read-only. */
export const AGENT_DIR = "/.manyhands/bin";
export const AGENT_FILE = "hand-agent";

/** Labels that find our containers again, whoever made them. */
export const LABEL = {
  hand: "dev.manyhands.hand",
  session: "dev.manyhands.session",
  name: "dev.manyhands.name",
  generation: "dev.manyhands.generation",
  place: "dev.manyhands.place",
  /** The manager that made it; others may have taken it since. */
  maker: "dev.manyhands.maker",
  /** The room its mounted repositories are changed in; on such rooms themselves: whose they are. */
  slot: "dev.manyhands.slot",
  /** On volumes with a prepared checkout: its commit. */
  checkout: "dev.manyhands.checkout",
} as const;

/** The container's name is made of the hand's id: a create that was answered but not heard is found again by it. */
export function containerName(handId: string): string {
  return `manyhands-${handId}`;
}

/** Capabilities of the agent: to become the tool user and to kill its processes. The tools have none. */
export const AGENT_CAPABILITIES = ["KILL", "SETGID", "SETUID"] as const;

function tmpfs(size: number, owner: number, mode: string, extra = ""): string {
  // Files cost memory beside their bytes: as many as there are pages, and always enough for a small project.
  const files = Math.max(MIN_FILES, Math.floor(size / PAGE_BYTES));
  return `rw,nosuid,nodev${extra},size=${size},nr_inodes=${files},uid=${owner},gid=${owner},mode=${mode}`;
}

/** The container that prepares a checkout: a hand like any other, of no session, for git alone. */
export function checkoutPlan(name: string): HandPlan {
  const limits = { memoryBytes: 1024 ** 3, cpuMillis: 2000, workspaceBytes: 16 * 1024 ** 2, pids: 64 };
  return { handId: name, sessionId: "", name: "", generation: 0, image: "", limits, env: {}, attachEpoch: 1 };
}

/** Everything the engine is told about a hand. What is not written here is denied by default. */
export function containerSpec(
  plan: HandPlan,
  image: string,
  agentVolume: string,
  place: string,
  mounts: readonly Docker.MountSettings[] = [],
  runtime: HandRuntime = ENGINE_RUNTIME,
): Docker.ContainerCreateOptions {
  const { limits } = plan;
  const env = Object.entries({ ...PROXY_ENV, ...plan.env, GIT_TERMINAL_PROMPT: "0" }).flatMap(([name, value]) => [
    "--env",
    `${name}=${value}`,
  ]);
  return {
    name: containerName(plan.handId),
    Image: image,
    Entrypoint: [
      `${AGENT_DIR}/${AGENT_FILE}`,
      "--uid",
      String(TOOL_UID),
      "--gid",
      String(TOOL_UID),
      "--port",
      String(TUNNEL_PORT),
      "--alone-ms",
      String(ALONE_MS),
      ...(runtime.filters ? [] : ["--filter", "yes", "--processes", String(limits.pids)]),
      ...env,
    ],
    Cmd: [],
    User: "0:0",
    WorkingDir: "/",
    Hostname: "hand",
    // Once open for ever: the agent's stdin must outlive each manager that is attached to it.
    OpenStdin: true,
    StdinOnce: false,
    AttachStdin: true,
    AttachStdout: true,
    AttachStderr: true,
    Tty: false,
    Healthcheck: { Test: ["NONE"] },
    Labels: {
      [LABEL.hand]: plan.handId,
      [LABEL.session]: plan.sessionId,
      [LABEL.name]: plan.name,
      [LABEL.generation]: String(plan.generation),
      [LABEL.place]: place,
    },
    HostConfig: {
      ...(runtime.name ? { Runtime: runtime.name } : {}),
      NetworkMode: "none",
      ReadonlyRootfs: true,
      CapDrop: ["ALL"],
      CapAdd: [...AGENT_CAPABILITIES],
      SecurityOpt: ["no-new-privileges", `seccomp=${SECCOMP_PROFILE}`],
      Privileged: false,
      PidsLimit: runtime.pidsLimit(limits.pids),
      Memory: limits.memoryBytes,
      MemorySwap: limits.memoryBytes,
      NanoCpus: limits.cpuMillis * NANO_PER_MILLI,
      ShmSize: SHM_BYTES,
      IpcMode: "private",
      PidMode: "",
      UTSMode: "",
      Ulimits: [
        { Name: "core", Soft: 0, Hard: 0 },
        { Name: "nofile", Soft: 4096, Hard: 4096 },
      ],
      OomScoreAdj: 500,
      Binds: [],
      Devices: [],
      Mounts: [{ Type: "volume", Source: agentVolume, Target: AGENT_DIR, ReadOnly: true }, ...mounts],
      Tmpfs: {
        "/workspace": tmpfs(limits.workspaceBytes, TOOL_UID, "0755", ",exec"),
        "/home/hand": tmpfs(HOME_BYTES, TOOL_UID, "0755", ",exec"),
        "/mnt/session/outputs": tmpfs(OUTPUTS_BYTES, TOOL_UID, "0755", ",noexec"),
        "/mnt/session/uploads": tmpfs(UPLOADS_BYTES, 0, "0755", ",noexec"),
        "/mnt/memory": tmpfs(MEMORY_BYTES, 0, "0755", ",noexec"),
        "/tmp": tmpfs(TMP_BYTES, 0, "1777", ",exec"),
        "/.manyhands/journal": tmpfs(JOURNAL_BYTES, 0, "0700", ",noexec"),
        "/.manyhands/run": tmpfs(RUN_BYTES, 0, "0755", ",noexec"),
      },
      LogConfig: { Type: "none", Config: {} },
      RestartPolicy: { Name: "no" },
      // A dead hand is kept until it was asked why it died.
      AutoRemove: false,
    },
  };
}
