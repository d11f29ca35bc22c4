import { PROXY_ENV, TUNNEL_PORT } from "../../egress/proxy-env.ts";
import { ALONE_MS, type HandPlan } from "../driver.ts";

/** What of the machine a hand can be shown; looked up once. Paths that are links are made as links. */
export type Machine = {
  /** /bin, /lib … : where they point to, or undefined for folders of their own. */
  readonly roots: readonly { readonly path: string; readonly linkTo: string | undefined }[];
  /** Files and folders below /etc that programs need and that hold no secret. */
  readonly etc: readonly string[];
  /** Files below /proc that tell of the machine and not of the hand. */
  readonly masked: readonly string[];
};

/** What one hand is made of on this machine. */
export type BwrapPlan = {
  readonly plan: Pick<HandPlan, "limits" | "env">;
  readonly machine: Machine;
  readonly agent: string;
  readonly etcFolder: string;
  /** True: the hand has two numbers of its own, and the agent another one than the tools. */
  readonly ownNumbers: boolean;
  readonly memoryGroup: { readonly folder: string; readonly inside: string } | undefined;
  /** Folders of the machine that it is shown besides, read-only unless it is made to fill one. */
  readonly binds?: readonly Bind[];
  /** Bound of each process's memory, where no group bounds the hand's. */
  readonly processBytes: number | undefined;
};

/** A folder of the machine and where in the hand it lies. */
export type Bind = { readonly from: string; readonly to: string; readonly isWritable?: boolean };

/** The tool user's number inside, as in containers. */
export const TOOL_UID = 65_532;
const JOURNAL_FD = 11;
const MIB = 1024 * 1024;
const SIZES = {
  shm: 16 * MIB,
  home: 64 * MIB,
  outputs: 128 * MIB,
  uploads: 128 * MIB,
  memory: 64 * MIB,
  tmp: 256 * MIB,
  run: 32 * MIB,
};
const AGENT = "/.manyhands/bin/hand-agent";
/** Made by name, because bwrap makes the parents of what it binds for its own user alone. */
const FOLDERS = [
  "/etc",
  "/etc/ssl",
  "/sys",
  "/sys/fs",
  "/sys/fs/cgroup",
  "/.manyhands",
  "/.manyhands/bin",
  "/.manyhands/checkouts",
  "/mnt",
  "/mnt/session",
];
const ETC_FILES = ["passwd", "group", "hosts", "nsswitch.conf"];

/**
 * bwrap's arguments, the agent's included. What is not written here is not there: no network, no other process, no
 * file of the machine but its programs, nothing writable but bounded file systems in memory.
 */
export function bwrapArguments(hand: BwrapPlan): string[] {
  const { plan, machine, agent, etcFolder, ownNumbers, memoryGroup } = hand;
  const { limits } = plan;
  const privileges = ownNumbers
    ? ["--cap-drop", "ALL", ...["KILL", "SETUID", "SETGID", "CHOWN"].flatMap((name) => ["--cap-add", `CAP_${name}`])]
    : ["--unshare-user", "--uid", String(TOOL_UID), "--gid", String(TOOL_UID)];
  return [
    ...["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"],
    ...["--hostname", "hand", "--as-pid-1", "--die-with-parent", "--new-session", "--clearenv"],
    ...privileges,
    ...["--ro-bind", "/usr", "/usr"],
    ...machine.roots.flatMap(({ path, linkTo }) => (linkTo ? ["--symlink", linkTo, path] : ["--ro-bind", path, path])),
    ...FOLDERS.flatMap((path) => ["--perms", "0755", "--dir", path]),
    ...machine.etc.flatMap((path) => ["--ro-bind", path, path]),
    ...ETC_FILES.flatMap((name) => ["--ro-bind", `${etcFolder}/${name}`, `/etc/${name}`]),
    ...["--proc", "/proc"],
    ...machine.masked.flatMap((path) => ["--ro-bind", "/dev/null", path]),
    ...["--dev", "/dev", ...tmpfs("/dev/shm", SIZES.shm, "1777"), "--remount-ro", "/dev"],
    ...(memoryGroup ? ["--ro-bind", memoryGroup.folder, memoryGroup.inside] : []),
    ...tmpfs("/workspace", limits.workspaceBytes, "0755"),
    ...tmpfs("/home/hand", SIZES.home, "0755"),
    ...tmpfs("/mnt/session/outputs", SIZES.outputs, "0755"),
    ...tmpfs("/mnt/session/uploads", SIZES.uploads, "0755"),
    ...tmpfs("/mnt/memory", SIZES.memory, "0755"),
    ...tmpfs("/tmp", SIZES.tmp, "1777"),
    ...tmpfs("/.manyhands/run", SIZES.run, "0755"),
    ...(hand.binds ?? []).flatMap(({ from, to, isWritable }) => [isWritable ? "--bind" : "--ro-bind", from, to]),
    ...["--ro-bind", agent, AGENT, "--remount-ro", "/", "--chdir", "/", "--"],
    ...agentArguments(hand),
  ];
}

function agentArguments({ plan, ownNumbers, processBytes }: BwrapPlan): string[] {
  const own = ownNumbers ? ["/workspace", "/home/hand", "/mnt/session/outputs"].flatMap((path) => ["--own", path]) : [];
  const env = Object.entries({ ...PROXY_ENV, ...plan.env, GIT_TERMINAL_PROMPT: "0" });
  return [
    ...[AGENT, "--journal-fd", String(JOURNAL_FD), "--uid", String(TOOL_UID), "--gid", String(TOOL_UID)],
    ...["--port", String(TUNNEL_PORT), "--processes", String(plan.limits.pids), "--filter", "yes"],
    ...["--alone-ms", String(ALONE_MS)],
    ...(processBytes === undefined ? [] : ["--data-bytes", String(processBytes)]),
    ...own,
    ...env.flatMap(([name, value]) => ["--env", `${name}=${value}`]),
  ];
}

function tmpfs(path: string, bytes: number, mode: string): string[] {
  return ["--perms", mode, "--size", String(bytes), "--tmpfs", path];
}
