/** What starts the containers of hands below the engine, and what of the policy it needs help with. */
export type HandRuntime = {
  /** As the engine knows it; empty: the engine's default. */
  readonly name: string;
  /** False: it drops the engine's list of system calls, and the agent installs the same list itself. */
  readonly filters: boolean;
  /** What the engine is told as limit so that the hand can have this many processes. */
  readonly pidsLimit: (processes: number) => number;
  readonly notIsolated: readonly string[];
};

const SHARED_CACHES = "CPU caches and timing are shared with other hands";

/** The engine's own choice, which is runc unless an operator changed it. */
export const ENGINE_RUNTIME: HandRuntime = {
  name: "",
  filters: true,
  pidsLimit: (processes) => processes,
  notIsolated: ["the kernel is shared with the host (no virtual machine in between)", SHARED_CACHES],
};

/**
 * gVisor's own threads, and the stubs beside each process of the hand: about six were counted on a machine without
 * hardware virtualisation. What refuses a fork bomb is therefore the rlimit that the agent sets and gVisor keeps; this
 * number only bounds what all of it costs the host.
 */
const SENTRY_THREADS = 512;
const STUBS = 8;

/**
 * The runtime an operator asked for. Throws in words when the engine does not have it, or has it in a way in which a
 * hand's limits would be words only: gVisor that ignores control groups, or that opens the host's network.
 */
export function chooseRuntime(name: string, engineInfo: unknown): HandRuntime {
  if (name === "") return ENGINE_RUNTIME;
  const found = runtimesOf(engineInfo).get(name);
  if (!found) {
    const known = [...runtimesOf(engineInfo).keys()].join(", ");
    throw new Error(`MH_HAND_RUNTIME=${name}: the engine has no such runtime (it has ${known})`);
  }
  if (!/runsc/.test(`${name} ${found.path}`)) return { ...ENGINE_RUNTIME, name };
  for (const [flag, broken] of FORBIDDEN_FLAGS) {
    if (found.args.some((arg) => flag.test(arg)))
      throw new Error(`MH_HAND_RUNTIME=${name}: it is registered with a flag under which ${broken}`);
  }
  return {
    name,
    filters: false,
    pidsLimit: (processes) => SENTRY_THREADS + STUBS * processes,
    notIsolated: [
      "system calls are answered by gVisor, whose own process is what stands before the host",
      SHARED_CACHES,
    ],
  };
}

const FORBIDDEN_FLAGS: readonly [RegExp, string][] = [
  [/^--?ignore-cgroups(=true)?$/, "neither memory nor processes of a hand are limited (--ignore-cgroups)"],
  [/^--?network=host$/, "hands would have the host's network (--network=host)"],
  [/^--?(host-uds=(open|create|all)|fsgofer-host-uds(=true)?)$/, "hands could reach the host's sockets (--host-uds)"],
];

type Registered = { readonly path: string; readonly args: readonly string[] };

function runtimesOf(info: unknown): ReadonlyMap<string, Registered> {
  const runtimes = typeof info === "object" && info !== null && "Runtimes" in info ? info.Runtimes : undefined;
  if (typeof runtimes !== "object" || runtimes === null) return new Map();
  return new Map(
    Object.entries(runtimes).map(([name, value]: [string, unknown]) => {
      const fields = new Map(Object.entries(typeof value === "object" && value !== null ? value : {}));
      const path: unknown = fields.get("path");
      const args: unknown = fields.get("runtimeArgs");
      const texts = Array.isArray(args) ? args.filter((arg) => typeof arg === "string") : [];
      return [name, { path: typeof path === "string" ? path : "", args: texts }];
    }),
  );
}
