import { watchDuring } from "./health.ts";
import type { Finding } from "./judge.ts";
import type { Probe } from "./probe.ts";
import { probes } from "./probes/index.ts";
import { type RuntimeName, runtimes } from "./runtimes.ts";
import { openTarget, type Target } from "./target.ts";

/** How the attacks are run. */
export interface AttackOptions {
  /** The compiled in-hand agent. */
  readonly agent: string;
  /** Kinds of hands to attack; default: all. */
  readonly runtimes?: readonly RuntimeName[];
  /** Only the selection for the tests. */
  readonly fast?: boolean;
  /** Only probes whose name contains this. */
  readonly only?: string;
  readonly signal?: AbortSignal;
  progress(text: string): void;
}

/** One attack on one kind of hands. */
export interface AttackRow {
  readonly name: string;
  readonly runtime: RuntimeName;
  /** `unproven`: its control did not work either, or it did not run. */
  readonly outcome: "contained" | "escaped" | "unproven";
  readonly evidence: string;
}

/** All attacks. */
export interface AttackReport {
  readonly total: number;
  readonly contained: number;
  readonly rows: readonly AttackRow[];
  /** Kinds of hands that could not be attacked because this machine does not have them, and why. */
  readonly absent: Readonly<Record<string, string>>;
  /** What each kind of hands says itself that it does not isolate. */
  readonly not_isolated: Readonly<Record<string, readonly string[]>>;
}

const WITH_PROCESSES: readonly RuntimeName[] = ["runc", "runsc", "bubblewrap"];

/** Runs every probe against every kind of hands; each control once. */
export async function runAttacks(options: AttackOptions): Promise<AttackReport> {
  const rows: AttackRow[] = [];
  const absent: Record<string, string> = {};
  const notIsolated: Record<string, readonly string[]> = {};
  const controls = new Map<Probe, Promise<Finding>>();
  const controlOf = (probe: Probe) => {
    const known = controls.get(probe) ?? probe.control(options.agent);
    known.catch(() => undefined);
    controls.set(probe, known);
    return known;
  };
  const wanted = probes.filter(
    (probe) => (!options.fast || probe.fast === true) && probe.name.includes(options.only ?? ""),
  );
  for (const runtime of options.runtimes ?? runtimes) {
    const mine = wanted.filter((probe) => (probe.on ?? WITH_PROCESSES).includes(runtime));
    let target: Target;
    try {
      target = await openTarget(runtime, options.agent);
    } catch (error) {
      absent[runtime] = error instanceof Error ? error.message : String(error);
      options.progress(`${runtime}: not on this machine: ${absent[runtime]}`);
      continue;
    }
    notIsolated[runtime] = target.notIsolated;
    try {
      for (const probe of mine) {
        options.signal?.throwIfAborted();
        const row = await attackOnce(probe, target, controlOf);
        options.progress(`${runtime} ${row.name}: ${row.outcome} (${row.evidence})`);
        rows.push(row);
      }
    } finally {
      await target.stop();
    }
  }
  const contained = rows.filter(({ outcome }) => outcome === "contained").length;
  return { total: rows.length, contained, rows, absent, not_isolated: notIsolated };
}

async function attackOnce(
  probe: Probe,
  target: Target,
  controlOf: (probe: Probe) => Promise<Finding>,
): Promise<AttackRow> {
  const { name } = probe;
  const { runtime } = target;
  try {
    const { escaped: works, evidence: shown } = await controlOf(probe);
    if (works !== true) return { name, runtime, outcome: "unproven", evidence: `its control failed: ${shown}` };
    const { found, health } = probe.exhausts
      ? await watchDuring(target, () => probe.attack(target))
      : { found: await probe.attack(target), health: undefined };
    const evidence = [found.evidence, ...(health ? [health.problem || health.text] : [])].join("; ");
    if (found.escaped === undefined) return { name, runtime, outcome: "unproven", evidence };
    const contained = !found.escaped && !health?.problem;
    return { name, runtime, outcome: contained ? "contained" : "escaped", evidence };
  } catch (error) {
    const evidence = error instanceof Error ? error.message : String(error);
    return { name, runtime, outcome: "unproven", evidence: `it broke off: ${evidence}` };
  }
}
