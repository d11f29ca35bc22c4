/** What may go wrong in a world, and how likely. */
import type { Scheduler } from "./scheduler.ts";

/** How likely which fault is, per call or moment; 0 once the storm is over. */
export interface Faults {
  /** A process dies before its call is sent, or after its effect and before its reply. */
  crash: number;
  /** A call is lost on its way, or only its reply. */
  requestLost: number;
  replyLost: number;
  /** A call arrives twice. */
  twice: number;
  /** A process stops for longer than its lease, and goes on. */
  pause: number;
  /** Hints (wakes, tail frames) that never come. */
  hintLost: number;
  /** The log's leader is gone for a while. */
  leaderGap: number;
  managerCrash: number;
  /** The manager is without its bus for a while: it refuses calls, one of which it may have begun. */
  managerBusAway: number;
  /** The manager holds an operation for so long that it may be another brain's by then. */
  managerStuck: number;
  handLost: number;
  engineLost: number;
  /** A living hand becomes another session's, whatever runs in it. */
  handPassed: number;
  modelFails: number;
  /** An MCP server cannot be reached, or says that it did nothing. */
  serverGone: number;
}

/** Faults of a seed: some kinds are absent, so that others are seen alone too. */
export function faultsOf(scheduler: Scheduler): Faults {
  const some = (share: number) => (scheduler.chance(0.5) ? share * scheduler.random() * 2 : 0);
  return {
    crash: some(0.03),
    requestLost: some(0.02),
    replyLost: some(0.04),
    twice: some(0.04),
    pause: some(0.05),
    hintLost: some(0.15),
    leaderGap: some(0.01),
    managerCrash: some(0.08),
    managerBusAway: some(0.03),
    managerStuck: some(0.12),
    handLost: some(0.02),
    engineLost: some(0.01),
    handPassed: some(0.03),
    modelFails: some(0.15),
    serverGone: some(0.2),
  };
}
