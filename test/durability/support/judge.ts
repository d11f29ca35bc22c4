/** What a damaged store is seen as, session by session: whole, or parked with an alarm. Anything else is silent loss. */
import { setTimeout as sleep } from "node:timers/promises";
import { AppError } from "@manyhands/kit";
import { readThroughService } from "./read-back.ts";
import type { Acknowledged } from "./writers.ts";

/** How many sessions are what. */
export interface Verdict {
  readonly sessions: number;
  /** Every acknowledged event is told at its position. */
  readonly whole: number;
  /** Reading is refused as LOG_DAMAGED. */
  readonly parked: number;
  /** Neither: some acknowledged event is not told, and nobody says so. */
  readonly silent: number;
  readonly problems: readonly string[];
}

const attempts = 5;
const pauseMs = 300;
const maxProblems = 10;

/** Reads every session that something was acknowledged of. */
export async function judgeSessions(address: string, acknowledged: readonly Acknowledged[]): Promise<Verdict> {
  const sessions = Map.groupBy(acknowledged, (one) => one.sessionId);
  const counts = { whole: 0, parked: 0, silent: 0 };
  const problems: string[] = [];
  for (const [sessionId, expected] of sessions) {
    const { verdict, why } = await judge(address, sessionId, expected);
    counts[verdict] += 1;
    if (verdict !== "whole" && problems.length < maxProblems) problems.push(`${verdict}: ${why}`);
  }
  return { sessions: sessions.size, ...counts, problems };
}

async function judge(
  address: string,
  sessionId: string,
  expected: readonly Acknowledged[],
): Promise<{ verdict: "whole" | "parked" | "silent"; why: string }> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      const told = await readThroughService(address, sessionId);
      const missing = expected.filter((one) => told.get(one.position) !== one.text);
      const why = `${sessionId} tells ${told.size} events; ${missing.length} of ${expected.length} acknowledged are not there, ${missing[0]?.position} first`;
      return { verdict: missing.length === 0 ? "whole" : "silent", why };
    } catch (error) {
      const { reason, message } = error instanceof AppError ? error : { reason: "", message: String(error) };
      if (reason === "LOG_DAMAGED") return { verdict: "parked", why: message };
      if (attempt === attempts)
        return { verdict: "silent", why: `${sessionId} is refused without an alarm: ${message}` };
      await sleep(pauseMs);
    }
  }
}
