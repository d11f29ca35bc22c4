/** What became of one session, read back when the storm is over. */
import type { SessionEvent } from "@manyhands/core";
import type { OperationResult } from "@manyhands/protocol";
import type { Fleet } from "./fleet.ts";
import { lineOf, parallelSteps, runsFile } from "./scenario.ts";
import { persist, type StormySession } from "./stormy-session.ts";

/** Counts over sessions; all but the first few must be zero. */
export interface Verdict {
  events_acknowledged: number;
  events_lost: number;
  events_duplicated: number;
  operations: number;
  operations_run_twice: number;
  operations_unknown: number;
  sessions_stuck: number;
  sessions_wrong_end: number;
  /** Hands that were lost; what ran in them cannot be counted any more. */
  hands_lost: number;
  /** In words, the first of what was wrong. */
  readonly problems: string[];
}

const maxProblems = 20;

/** Nothing found yet. */
export function emptyVerdict(): Verdict {
  return {
    events_acknowledged: 0,
    events_lost: 0,
    events_duplicated: 0,
    operations: 0,
    operations_run_twice: 0,
    operations_unknown: 0,
    sessions_stuck: 0,
    sessions_wrong_end: 0,
    hands_lost: 0,
    problems: [],
  };
}

/** Adds what one session came to. */
export async function judge(fleet: Fleet, session: StormySession, steps: number, verdict: Verdict): Promise<void> {
  const log = await session.log();
  const say = (text: string) => {
    if (verdict.problems.length < maxProblems) verdict.problems.push(`${session.name} ${session.id}: ${text}`);
  };
  judgeLog(session, log, verdict, say);
  const runs = await runsOf(fleet, log);
  judgeOperations(log, runs, verdict, say);
  judgeEnd(session, log, steps, verdict, say);
}

type Say = (text: string) => void;

function judgeLog(session: StormySession, log: readonly SessionEvent[], verdict: Verdict, say: Say): void {
  const known = new Set([...session.seen.values()].map((event) => event.id));
  for (const id of session.acknowledged) known.add(id);
  verdict.events_acknowledged += known.size;
  const times = new Map<string, number>();
  for (const { id } of log) times.set(id, (times.get(id) ?? 0) + 1);
  for (const [position, { id, type }] of session.seen) {
    if (log[position]?.id === id) continue;
    verdict.events_lost += 1;
    say(`event ${id} (${type}) was stored at ${position} and is not there`);
  }
  for (const id of session.acknowledged) {
    if (times.has(id)) continue;
    verdict.events_lost += 1;
    say(`event ${id} was acknowledged and is not there`);
  }
  const answered = log.flatMap((event) => (event.type === "agent.tool_result" ? [event.tool_use_id] : []));
  const doubled = [...times.values()].filter((count) => count > 1).length + answered.length - new Set(answered).size;
  verdict.events_duplicated += doubled;
  if (doubled > 0) say(`${doubled} events are in the log twice`);
  const holes = log.filter((event, index) => event.position !== index).length;
  if (holes > 0) {
    verdict.events_lost += holes;
    say(`${holes} positions are not where they should be`);
  }
  let epoch = 0;
  for (const event of log) {
    if (event.type === "brain.woken") epoch = event.epoch;
    if (event.epoch !== 0 && event.epoch !== epoch) {
      verdict.sessions_wrong_end += 1;
      say(`position ${event.position} was written under epoch ${event.epoch} while ${epoch} held the session`);
      return;
    }
  }
}

/** Every line against what the log says of the operation that leaves it. */
function judgeOperations(
  log: readonly SessionEvent[],
  runs: ReadonlyMap<string, number>,
  verdict: Verdict,
  say: Say,
): void {
  const outcomes = new Map<string, string>();
  for (const event of log) if (event.type === "agent.tool_result") outcomes.set(event.tool_use_id, event.outcome);
  const isLost = log.some((event) => event.type === "hand.lost");
  verdict.hands_lost += log.filter((event) => event.type === "hand.lost").length;
  for (const event of log) {
    if (event.type !== "agent.tool_use") continue;
    verdict.operations += 1;
    const line = lineOf(event.input.command);
    const outcome = outcomes.get(event.id) ?? "none";
    const count = runs.get(line ?? "") ?? 0;
    if (outcome === "UNKNOWN") verdict.operations_unknown += 1;
    if (count > 1) {
      verdict.operations_run_twice += 1;
      say(`operation ${event.id} (${line}) ran ${count} times, its outcome is ${outcome}`);
    } else if ((outcome === "COMPLETED" && count !== 1 && !isLost) || (outcome === "NOT_STARTED" && count > 0)) {
      verdict.sessions_wrong_end += 1;
      say(`operation ${event.id} (${line}) ran ${count} times, its outcome is ${outcome}`);
    }
  }
}

function judgeEnd(
  session: StormySession,
  log: readonly SessionEvent[],
  steps: number,
  verdict: Verdict,
  say: Say,
): void {
  const last = log.findLast((event) => event.type !== "context.checkpointed"); // saved after the end of a turn
  if (session.isStuck || last?.type !== "session.status_idle") {
    verdict.sessions_stuck += 1;
    say(`turn ${session.turns} does not end; the last event is ${JSON.stringify(last).slice(0, 300)}`);
    return;
  }
  const spoken = log.findLast((event) => event.type === "agent.message");
  const words = spoken?.content.map((block) => (block.type === "text" ? block.text : "")).join("");
  const uses = log.filter((event) => event.type === "agent.tool_use").length;
  const expected = session.turns * (steps + parallelSteps);
  const isRight =
    last.stop_reason.type === "end_turn" && words === `Turn ${session.turns} is over.` && uses === expected;
  if (isRight) return;
  verdict.sessions_wrong_end += 1;
  say(`ended with ${JSON.stringify(last.stop_reason)}, "${words}" and ${uses} of ${expected} operations`);
}

/** How often each line stands in the hand's file. */
async function runsOf(fleet: Fleet, log: readonly SessionEvent[]): Promise<Map<string, number>> {
  const runs = new Map<string, number>();
  const hand = log.findLast((event) => event.type === "hand.provisioned");
  if (hand?.type !== "hand.provisioned") return runs;
  const epoch = BigInt(Math.max(0, ...log.map((event) => event.epoch)));
  const text = await persist(() => read(fleet, hand.hand_id, epoch));
  for (const line of text.split("\n").filter(Boolean)) runs.set(line, (runs.get(line) ?? 0) + 1);
  return runs;
}

async function read(fleet: Fleet, handId: string, epoch: bigint): Promise<string> {
  let result: OperationResult | undefined;
  const call = fleet.sandboxes.execute({
    handId,
    operationId: `sevt_verdict${Math.random().toString(36).slice(2)}`,
    name: "bash",
    inputJson: new TextEncoder().encode(JSON.stringify({ command: `cat ${runsFile} 2>/dev/null || true` })),
    epoch,
  });
  for await (const { item } of call) if (item.case === "result") result = item.value;
  return result?.content ?? "";
}
