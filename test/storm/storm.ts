/**
 * SIGKILL of harnesses, session-stores and sandbox-managers at random moments while sessions run tools with side
 * effects. Nothing acknowledged may be lost or doubled, no operation run twice, no session stuck or ended otherwise than
 * without the storm, and every context the model is asked with again must be the same bytes.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { eventually } from "@manyhands/testkit";
import { between, percentile, seededRandom } from "../durability/support/rig.ts";
import type { ServiceProcess } from "../support/service-process.ts";
import { compareContexts } from "./contexts.ts";
import { type Fleet, startFleet } from "./fleet.ts";
import { stormScenario, stormSessionOf } from "./scenario.ts";
import { StormySession } from "./stormy-session.ts";
import { emptyVerdict, judge, type Verdict } from "./verdict.ts";

/** How a storm is run. */
export interface StormOptions {
  readonly kills: number;
  readonly sessions: number;
  /** Decides victims and moments. */
  readonly seed: number;
  /** Between two kills; default 100 to 800 ms. */
  readonly pauseMs?: { readonly from: number; readonly to: number };
  /**
   * Every so many kills one is made with everything up, and nothing else is touched until the next brain came; default 6.
   */
  readonly measuredEvery?: number;
  /** `auto`: docker when an engine answers; virtual hands die with their manager, which is then left alone. */
  readonly driver?: "auto" | "virtual";
  readonly signal: AbortSignal;
  progress(text: string): void;
}

/** What a storm came to. */
export interface StormReport extends Verdict {
  readonly kills: number;
  readonly sessions: number;
  readonly seed: number;
  readonly ok: boolean;
  /** From the SIGKILL of a brain to the first event of the next one, in kills with all else up. */
  readonly takeover_ms: { readonly p50: number; readonly p95: number; readonly samples: number };
  readonly requests: number;
  readonly requests_reasked: number;
  readonly contexts_differing: number;
  readonly victims: Readonly<Record<string, number>>;
  readonly driver: string;
  readonly turns: number;
  readonly seconds: number;
}

const steps = 4;
const workers = 6;
const turnMs = 120_000;
const usualPauseMs = { from: 100, to: 800 };
const usuallyMeasuredEvery = 6;
const takeoverMs = 10_000;

interface Kill {
  readonly at: number;
  readonly service: string;
  /** Sessions the victim was driving. */
  readonly driven: readonly StormySession[];
  readonly instanceId: string;
  /** True when the time to the next brain is taken. */
  readonly isMeasured: boolean;
}

/** Runs one storm. */
export async function runStorm(options: StormOptions): Promise<StormReport> {
  const startedMs = performance.now();
  const contexts = compareContexts(stormSessionOf);
  const fleet = await startFleet({
    harnesses: 3,
    stores: 2,
    managers: 2,
    driver: options.driver ?? "auto",
    handCapacity: options.sessions + 20,
    scenarios: [stormScenario],
    onRequest: ({ path, body }) => {
      if (path.startsWith("/v1/messages")) contexts.see(body);
      return undefined;
    },
    progress: options.progress,
  });
  const sessions: StormySession[] = [];
  try {
    const kills: Kill[] = [];
    const raging = rage(fleet, options, sessions, kills);
    raging.catch(() => undefined);
    let isOver = false;
    const over = raging.finally(() => {
      isOver = true;
    });
    over.catch(() => undefined);
    await driveSessions(fleet, options, sessions, () => isOver);
    await over;
    const verdict = emptyVerdict();
    for (const session of sessions) await judge(fleet, session, steps, verdict);
    const takeovers = takeoversOf(kills);
    const broken =
      verdict.events_lost +
      verdict.events_duplicated +
      verdict.operations_run_twice +
      verdict.sessions_stuck +
      verdict.sessions_wrong_end +
      contexts.counts.differing;
    return {
      kills: kills.length,
      sessions: sessions.length,
      ...verdict,
      takeover_ms: {
        p50: percentile(takeovers, 0.5),
        p95: percentile(takeovers, 0.95),
        samples: takeovers.length,
      },
      requests: contexts.counts.requests,
      requests_reasked: contexts.counts.reasked,
      contexts_differing: contexts.counts.differing,
      victims: countBy(kills.map((kill) => kill.service)),
      driver: fleet.driver,
      turns: sessions.reduce((sum, session) => sum + session.turns, 0),
      seed: options.seed,
      seconds: Math.round((performance.now() - startedMs) / 1000),
      ok: broken === 0 && kills.length === options.kills,
    };
  } finally {
    await release(fleet, sessions);
    for (const session of sessions) session.close();
    await fleet.close();
  }
}

/** A few sessions at a time, each at least one turn, until the last kill has been survived. */
async function driveSessions(
  fleet: Fleet,
  options: StormOptions,
  sessions: StormySession[],
  isOver: () => boolean,
): Promise<void> {
  for (let number = 0; number < options.sessions; number += 1) sessions.push(new StormySession(fleet, `s${number}`));
  const free = [...sessions];
  const work = async () => {
    for (;;) {
      options.signal.throwIfAborted();
      const session = free.shift();
      if (session === undefined || (isOver() && session.turns > 0)) return;
      if (session.turns === 0) await session.begin();
      await session.turn(steps, turnMs);
      if (!session.isStuck) free.push(session);
    }
  };
  await Promise.all(Array.from({ length: Math.min(workers, options.sessions) }, work));
}

/** The kills: one victim at a time, which comes back while the next one is chosen. */
async function rage(
  fleet: Fleet,
  options: StormOptions,
  sessions: readonly StormySession[],
  kills: Kill[],
): Promise<void> {
  const { pauseMs = usualPauseMs, measuredEvery = usuallyMeasuredEvery } = options;
  const random = seededRandom(options.seed);
  const pace = seededRandom(options.seed + 1);
  const managers = fleet.driver === "docker" ? fleet.managers : [];
  const victims = [...fleet.harnesses, ...fleet.harnesses, ...fleet.stores, ...managers];
  const reviving = new Map<ServiceProcess, Promise<void>>();
  try {
    for (let number = 1; number <= options.kills; number += 1) {
      await sleep(between(pace, pauseMs.from, pauseMs.to), undefined, { signal: options.signal });
      const isMeasured = number % measuredEvery === 0;
      if (isMeasured) await Promise.all(reviving.values());
      const victim = isMeasured ? busiest(fleet, sessions) : victims[between(random, 0, victims.length - 1)];
      if (victim === undefined) throw new Error("nobody to kill");
      await reviving.get(victim);
      const { instanceId } = victim;
      const driven = sessions.filter((session) => session.brain === instanceId && !session.isIdle);
      const kill: Kill = { at: Date.now(), service: victim.service, driven, instanceId, isMeasured };
      kills.push(kill);
      await victim.end("SIGKILL");
      if (isMeasured) {
        const isTaken = () => driven.every((session) => session.isIdle || nextBrainAt(kill, session) !== undefined);
        await eventually(isTaken, { timeoutMs: takeoverMs, everyMs: 10 }).catch(() => undefined);
      }
      const up = victim.start();
      up.catch(() => undefined);
      reviving.set(victim, up);
      if (number % 25 === 0) options.progress(`storm: ${number} kills`);
    }
  } finally {
    await Promise.all(reviving.values());
  }
}

function busiest(fleet: Fleet, sessions: readonly StormySession[]): ServiceProcess | undefined {
  const load = ({ instanceId }: ServiceProcess) =>
    sessions.filter((session) => session.brain === instanceId && !session.isIdle).length;
  return fleet.harnesses.toSorted((one, other) => load(other) - load(one))[0];
}

/** When another brain than the killed one took the session, as the log says. */
function nextBrainAt(kill: Kill, session: StormySession): number | undefined {
  for (const { instanceId, at } of session.seen.values()) {
    if (instanceId !== undefined && instanceId !== kill.instanceId && at >= kill.at) return at;
  }
  return undefined;
}

/** Of the kills with everything else up and left alone: the others would give the figure of several faults. */
function takeoversOf(kills: readonly Kill[]): number[] {
  return kills
    .filter((kill) => kill.isMeasured)
    .flatMap((kill) => kill.driven.map((session) => (nextBrainAt(kill, session) ?? kill.at + takeoverMs) - kill.at));
}

function countBy(names: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}

async function release(fleet: Fleet, sessions: readonly StormySession[]): Promise<void> {
  for (const session of sessions) {
    await fleet.sandboxes.release({ sessionId: session.id, reason: "session_end" }).catch(() => undefined);
  }
}
