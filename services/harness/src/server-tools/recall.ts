/** recall: the model queries its own log, through the same getEvents as everybody else. */
import { create } from "@bufbuild/protobuf";
import { readRecallQuery, recallAnswer, recalled } from "@manyhands/core";
import type { RpcClient } from "@manyhands/kit";
import { decodeEvent, GetEventsRequestSchema, type SessionService } from "@manyhands/protocol";
import { failed, type ServerTool } from "./server-tools.ts";

const pageSize = 500;
/** Pages looked at in one call: 50 000 events. */
const maxPages = 100;

/** The tool over session-store. */
export function createRecall(sessions: Pick<RpcClient<typeof SessionService>, "getEvents">): ServerTool {
  return async ({ sessionId, input, outputBytes, signal }) => {
    const read = readRecallQuery(input);
    if ("problem" in read) return failed(`recall: ${read.problem}.`);
    const { query } = read;
    const request = create(GetEventsRequestSchema, {
      sessionId,
      slice: {
        case: "range",
        value: { from: BigInt(query.from), ...(query.to === undefined ? {} : { to: BigInt(query.to) }) },
      },
      types: [...query.types],
      descending: query.newestFirst,
      pageSize,
      includeBlobs: true,
    });
    const found: { position: number; type: string; words: string }[] = [];
    for (let page = 0; page < maxPages && found.length <= query.limit; page += 1) {
      const answer = await sessions.getEvents(request, { signal });
      for (const wire of answer.events) {
        const event = decodeEvent(wire);
        const words = recalled(event, query);
        if (words !== undefined) found.push({ position: event.position, type: event.type, words });
      }
      if (answer.nextPageToken === "") break;
      request.pageToken = answer.nextPageToken;
    }
    const shown = found.slice(0, query.limit).sort((a, b) => a.position - b.position);
    return { text: recallAnswer(shown, found.length > query.limit, outputBytes), isError: false };
  };
}
