/**
 * Tool uses that were shown to a worker that is gone. Whether it ran them nobody can know, so each is answered as
 * unknown, and never shown to another worker as something to do.
 */
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { isServerTool, isUnknownEvent, type SessionEvent, text } from "@manyhands/core";
import { newId, toAppError } from "@manyhands/kit";
import { decodeEvent, encodeEvent, type WorkItem } from "@manyhands/protocol";
import type { Deps } from "../deps.ts";
import type { Call } from "../http/call.ts";

const PAGE = 200;
const MAX_PAGES = 50;
/** The log and the lease are timed by two clocks, which may differ by so much. */
const CLOCK_SKEW_MS = 2000;
/** A model request begins only when every tool use before it is answered: what is open comes after the last one. */
const TYPES = [
  "agent.tool_use",
  "agent.tool_result",
  "user.tool_result",
  "user.tool_confirmation",
  "span.model_request_start",
];

type Session = { readonly workspaceId: string; readonly sessionId: string };

/**
 * Answers what the item's former worker left open and says so to the queue; tells how many tool uses that were. `head`
 * is where the log ended when a worker said itself that it lets go: it was shown nothing from there on. Without it the
 * time of its loss has to do.
 */
export async function settleWork(
  deps: Pick<Deps, "sessions" | "work">,
  call: Call,
  item: WorkItem,
  head?: number,
): Promise<number> {
  const { workspaceId, sessionId } = item;
  let answered = 0;
  try {
    const open = await openToolUses(deps.sessions, { workspaceId, sessionId }, call);
    const { unsettledUntil: until } = item;
    const lastMs = until === undefined ? Number.POSITIVE_INFINITY : timestampMs(until) + CLOCK_SKEW_MS;
    const shown = open.filter(({ at, position }) => (head === undefined ? at <= lastMs : position < head));
    const events = shown.map(({ id, name }) =>
      encodeEvent({
        id: newId("sevt"),
        type: "user.tool_result",
        tool_use_id: id,
        content: [text(lostWords(name))],
        is_error: true,
      }),
    );
    if (events.length > 0) {
      await deps.sessions.emitEvents({ workspaceId, sessionId, requestId: newId("req"), events }, call.rpc);
    }
    answered = events.length;
  } catch (thrown) {
    const error = toAppError(thrown);
    // A session that is deleted or archived has nothing left to answer.
    if (error.kind !== "notFound" && error.kind !== "conflict") throw error;
    call.logger.info({ err: error, session: sessionId }, "a session that is gone was not settled");
  }
  await deps.work.settleWork({ workId: item.id }, call.rpc);
  return answered;
}

function lostWords(name: string): string {
  return [
    `The outcome of this ${name} call is unknown: the worker that had it is gone.`,
    "It may have completed, may have partly completed, or may not have run at all.",
    "Verify what actually happened before you repeat it.",
  ].join(" ");
}

type ToolUse = Extract<SessionEvent, { type: "agent.tool_use" }>;

async function openToolUses(sessions: Deps["sessions"], session: Session, call: Call): Promise<readonly ToolUse[]> {
  const answered = new Set<string>();
  const allowed = new Set<string>();
  const open: ToolUse[] = [];
  let pageToken = "";
  for (let page = 0; page < MAX_PAGES; page += 1) {
    const asked = { ...session, types: TYPES, descending: true, pageSize: PAGE, pageToken };
    const { events, nextPageToken } = await sessions.getEvents(asked, call.rpc);
    for (const event of events.map(decodeEvent)) {
      if (isUnknownEvent(event)) continue;
      if (event.type === "span.model_request_start") return open;
      if (event.type === "agent.tool_result" || event.type === "user.tool_result") answered.add(event.tool_use_id);
      if (event.type === "user.tool_confirmation" && event.result === "allow") allowed.add(event.tool_use_id);
      if (event.type === "agent.tool_use" && isOpen(event, answered, allowed)) open.push(event);
    }
    if (nextPageToken === "") return open;
    pageToken = nextPageToken;
  }
  return open;
}

/** What nobody has allowed yet no worker runs, and what the platform runs itself it answers itself. */
function isOpen(use: ToolUse, answered: ReadonlySet<string>, allowed: ReadonlySet<string>): boolean {
  if (answered.has(use.id) || isServerTool(use.name) || use.evaluated_permission === "deny") return false;
  return use.evaluated_permission !== "ask" || allowed.has(use.id);
}
