import type Anthropic from "@anthropic-ai/sdk";
import { FIX_COMMIT_SUBJECT } from "@manyhands/demo-model";
import type { GitServer } from "@manyhands/testkit";
import { sweepBubblewrap } from "./bubblewrap-of-session.ts";
import { containersOfSession, type Sweep, sweepContainer } from "./hands-of-session.ts";
import { repositoryName } from "./job.ts";

/** One thing that must be true after the job. */
export interface Check {
  readonly what: string;
  readonly ok: boolean;
  readonly detail: string;
}

/** Operations as the log tells them. */
export interface OperationCount {
  readonly operations: number;
  readonly dispatchedTwice: number;
  readonly resultsMissing: number;
  readonly resultsTwice: number;
}

interface LogEvent {
  type: string;
  id: string;
  operation_id?: string;
  tool_use_id?: string;
}

const maxPages = 50;

/** The whole log, the platform's own events included. */
export async function readLog(client: Anthropic, sessionId: string): Promise<LogEvent[]> {
  const events: LogEvent[] = [];
  let page: string | null = null;
  for (let count = 0; count < maxPages; count++) {
    const query: Record<string, unknown> = {
      limit: 1000,
      x_include_platform: true,
      ...(page === null ? {} : { page }),
    };
    const answer: { data: LogEvent[]; next_page: string | null } = await client.get(
      `/v1/sessions/${sessionId}/events`,
      { query },
    );
    events.push(...answer.data);
    page = answer.next_page;
    if (page === null) return events;
  }
  throw new Error(`the log has more than ${maxPages} pages`);
}

/** Counts, for each tool use, how often it was dispatched and answered. */
export function countOperations(log: readonly LogEvent[]): OperationCount {
  const uses = log.filter((event) => event.type === "agent.tool_use").map((event) => event.id);
  const dispatched = tally(log, "operation.dispatched", (event) => event.operation_id);
  const results = tally(log, "agent.tool_result", (event) => event.tool_use_id);
  return {
    operations: uses.length,
    dispatchedTwice: uses.filter((id) => (dispatched.get(id) ?? 0) > 1).length,
    resultsMissing: uses.filter((id) => !results.has(id)).length,
    resultsTwice: uses.filter((id) => (results.get(id) ?? 0) > 1).length,
  };
}

function tally(log: readonly LogEvent[], type: string, key: (event: LogEvent) => string | undefined) {
  const counts = new Map<string, number>();
  for (const event of log.filter((candidate) => candidate.type === type)) {
    const id = key(event) ?? "";
    counts.set(id, (counts.get(id) ?? 0) + 1);
  }
  return counts;
}

/** Each tool use has one intent and one result. */
export function checkOperations(log: readonly LogEvent[]): Check {
  const { operations, dispatchedTwice, resultsMissing, resultsTwice } = countOperations(log);
  return {
    what: "each operation ran once",
    ok: operations > 0 && dispatchedTwice + resultsMissing + resultsTwice === 0,
    detail: `${operations} operations; dispatched twice ${dispatchedTwice}, without result ${resultsMissing}, with two results ${resultsTwice}`,
  };
}

/** The fix is on the server exactly once. */
export async function checkPushed(git: GitServer): Promise<Check> {
  const commits = await git.log(repositoryName);
  const fixes = commits.filter((commit) => commit.subject === FIX_COMMIT_SUBJECT || commits.length === 2);
  const pushed = commits.length - 1;
  return {
    what: "the fix is on the server once",
    ok: pushed === 1 && fixes.length >= 1,
    detail: `${pushed} commit pushed to main: ${commits[0]?.sha.slice(0, 12)} "${commits[0]?.subject}"`,
  };
}

/** The token is neither in the session's hands nor in its log. */
export async function checkCredential(
  sessionId: string,
  token: string,
  log: readonly LogEvent[],
  handsDir: string,
): Promise<Check> {
  const sweeps =
    handsDir === "" ? await sweepContainers(sessionId, token) : sweepBubblewrap(handsDir, sessionId, token);
  const bytes = sweeps.reduce((sum, sweep) => sum + sweep.bytes, 0);
  const inLog = JSON.stringify(log).includes(token);
  const seen = inLog || sweeps.some((sweep) => sweep.found);
  return {
    what: `credential seen by sandbox: ${seen ? "YES" : "no"}`,
    ok: !seen && sweeps.length > 0,
    detail: `${bytes} bytes of environment, command lines and files in ${sweeps.length} sandbox(es), and the log`,
  };
}

async function sweepContainers(sessionId: string, token: string): Promise<Sweep[]> {
  const containers = await containersOfSession(sessionId);
  return Promise.all(containers.map((id) => sweepContainer(id, token)));
}
