import type Docker from "dockerode";
import { AGENT_CAPABILITIES } from "./container-spec.ts";

type Check = { readonly field: string; readonly holds: boolean };

/**
 * Compares what the engine made with what was asked. An engine that does not know a field drops it silently, and
 * plug-ins may change it; a hand that is weaker than its policy must not start. Returns the fields that drifted.
 */
export function policyDrift(
  asked: Docker.ContainerCreateOptions,
  made: Docker.ContainerInspectInfo,
): readonly string[] {
  const want = asked.HostConfig ?? {};
  const have = made.HostConfig;
  const mounts = made.Mounts.filter((mount) => mount.Type !== "tmpfs");
  const checks: readonly Check[] = [
    { field: "Runtime", holds: want.Runtime === undefined || have.Runtime === want.Runtime },
    { field: "NetworkMode", holds: have.NetworkMode === "none" },
    { field: "ReadonlyRootfs", holds: have.ReadonlyRootfs === true },
    { field: "Privileged", holds: have.Privileged === false },
    { field: "CapDrop", holds: sameSet(have.CapDrop, ["ALL"]) },
    { field: "CapAdd", holds: sameSet(have.CapAdd, AGENT_CAPABILITIES) },
    { field: "SecurityOpt", holds: sameSet(have.SecurityOpt, want.SecurityOpt) },
    { field: "PidsLimit", holds: have.PidsLimit === want.PidsLimit },
    { field: "Memory", holds: have.Memory === want.Memory },
    { field: "MemorySwap", holds: have.MemorySwap === want.MemorySwap },
    { field: "NanoCpus", holds: have.NanoCpus === want.NanoCpus },
    { field: "IpcMode", holds: have.IpcMode === "private" },
    { field: "PidMode", holds: !have.PidMode },
    { field: "UTSMode", holds: !have.UTSMode },
    { field: "Binds", holds: (have.Binds ?? []).length === 0 },
    { field: "Devices", holds: (have.Devices ?? []).length === 0 },
    { field: "Tmpfs", holds: JSON.stringify(sorted(have.Tmpfs)) === JSON.stringify(sorted(want.Tmpfs)) },
    { field: "LogConfig", holds: have.LogConfig?.Type === "none" },
    { field: "RestartPolicy", holds: have.RestartPolicy?.Name === "no" },
    {
      field: "Mounts",
      holds:
        JSON.stringify(mounts.map(({ Destination: at, RW: rw, Type: type }) => [at, type, rw]).sort()) ===
        JSON.stringify((want.Mounts ?? []).map((mount) => [mount.Target, "volume", mount.ReadOnly !== true]).sort()),
    },
    { field: "User", holds: made.Config.User === "0:0" },
    { field: "Entrypoint", holds: JSON.stringify(made.Config.Entrypoint) === JSON.stringify(asked.Entrypoint) },
  ];
  return checks.filter((check) => !check.holds).map((check) => check.field);
}

/** Engines write a capability as KILL or CAP_KILL. */
function sameSet(have: readonly string[] | null | undefined, want: readonly string[] | null | undefined): boolean {
  const plain = (list: readonly string[]) => list.map((item) => item.replace(/^CAP_/, "")).sort();
  return JSON.stringify(plain(have ?? [])) === JSON.stringify(plain(want ?? []));
}

function sorted(record: unknown): [string, unknown][] {
  return Object.entries(record ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
}
