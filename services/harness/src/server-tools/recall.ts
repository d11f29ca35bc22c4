/** recall: the model queries its own log, through the same getEvents as everybody else. */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import {
  answeredUse,
  isUnknownEvent,
  readRecallQuery,
  recallAnswer,
  recalled,
  resultPart,
  resultText,
  type SessionEvent,
  type UnknownEvent,
} from "@manyhands/core";
import type { RpcClient } from "@manyhands/kit";
import { decodeEvent, GetEventsRequestSchema, type SessionService } from "@manyhands/protocol";
import { failed, type ServerTool } from "./server-tools.ts";

type Sessions = Pick<RpcClient<typeof SessionService>, "getEvents">;
type LoggedEvent = SessionEvent | UnknownEvent;

const pageSize = 500;
/** Pages looked at in one call: 50 000 events. */
const maxPages = 100;
const resultTypes = ["agent.tool_result", "agent.mcp_tool_result", "user.tool_result", "user.custom_tool_result"];

/** The tool over session-store. */
export function createRecall(sessions: Sessions): ServerTool {
  return async ({ sessionId, input, outputBytes, signal }) => {
    const read = readRecallQuery(input);
    if ("problem" in read) return failed(`recall: ${read.problem}.`);
    const { query } = read;
    if (query.resultOf !== undefined) {
      const whole = await resultOf(sessions, sessionId, query.resultOf.id, signal);
      if (whole === undefined) return failed(`recall: the log has no result of ${query.resultOf.id.slice(0, 64)}.`);
      return { text: resultPart(whole, query.resultOf, outputBytes), isError: false };
    }
    const slice = range(query.from, query.to);
    const asked = { sessionId, slice, types: [...query.types], descending: query.newestFirst, includeBlobs: true };
    const found: { position: number; type: string; words: string }[] = [];
    for await (const event of eventsOf(sessions, asked, signal)) {
      const words = recalled(event, query);
      if (words !== undefined) found.push({ position: event.position, type: event.type, words });
      if (found.length > query.limit) break;
    }
    const shown = found.slice(0, query.limit).sort((a, b) => a.position - b.position);
    return { text: recallAnswer(shown, found.length > query.limit, outputBytes), isError: false };
  };
}

/** The whole text of a tool use's result; undefined when the log has none. Read by itself, since an answer is bounded. */
async function resultOf(sessions: Sessions, sessionId: string, id: string, signal: AbortSignal) {
  const asked = { sessionId, slice: range(0), types: resultTypes, descending: true };
  for await (const event of eventsOf(sessions, asked, signal)) {
    if (answeredUse(event) !== id) continue;
    const alone = { sessionId, slice: range(event.position, event.position + 1), includeBlobs: true };
    for await (const whole of eventsOf(sessions, alone, signal)) return resultText(contentOf(whole));
  }
  return undefined;
}

async function* eventsOf(
  sessions: Sessions,
  asked: MessageInitShape<typeof GetEventsRequestSchema>,
  signal: AbortSignal,
): AsyncGenerator<LoggedEvent> {
  const request = create(GetEventsRequestSchema, { ...asked, pageSize });
  for (let page = 0; page < maxPages; page += 1) {
    const answer = await sessions.getEvents(request, { signal });
    yield* answer.events.map(decodeEvent);
    if (answer.nextPageToken === "") return;
    request.pageToken = answer.nextPageToken;
  }
}

function range(from: number, to?: number) {
  const value = { from: BigInt(from), ...(to === undefined ? {} : { to: BigInt(to) }) };
  return { case: "range", value } as const;
}

function contentOf(event: LoggedEvent) {
  return !isUnknownEvent(event) && "content" in event ? (event.content ?? []) : [];
}
