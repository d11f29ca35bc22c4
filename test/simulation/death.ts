/** Which rows of the crash table the death of a brain stands for. */
import type { Event } from "@manyhands/protocol";
import type { SessionLogs } from "./session-logs.ts";

/** What is known of operations besides the log. */
export interface Operations {
  isRunning(sessionId: string): boolean;
  wasRun(operationId: string): boolean;
}

/** The rows, for one session; none when another brain holds it. `site` is where it died. */
export function rowsOfDeath(
  logs: SessionLogs,
  operations: Operations,
  { sessionId, brain, site }: { readonly sessionId: string; readonly brain: string; readonly site: string },
): string[] {
  const state = logs.state(sessionId);
  const events = logs.stored(sessionId);
  const woken = events.findLast((event) => event.payload.case === "brainWoken");
  const isMine = woken?.payload.case === "brainWoken" && woken.payload.value.instanceId === brain;
  if (!isMine || state.phase === "unborn" || state.phase === "closed") return [];
  if (state.phase === "asking") {
    if (site.startsWith("model: in") || site.startsWith("pass during_model")) return ["CP5"];
    if (lastFact(events) === "agent.tool_result") return ["CP19"];
    if (site === "emit response: not sent" || site === "pass after_model_response") return ["CP6"];
    return state.request === undefined ? [] : ["CP4"];
  }
  if (state.phase !== "acting") return [];
  const { calls } = state;
  const answered = calls.filter((call) => call.progress.at === "answered").length;
  const isUnsent = calls.some((call) => call.progress.at === "dispatched" && !operations.wasRun(call.id));
  return [
    ...(site === "emit response: not answered" ? ["CP7"] : []),
    ...(calls.length > 1 && answered > 0 && answered < calls.length ? ["CP24"] : []),
    ...(site === "emit result: not sent" || site === "pass after_execute_returned" ? ["CP17"] : []),
    ...(site === "emit result: not answered" ? ["CP18"] : []),
    ...(calls.some((call) => call.progress.at === "ready") ? ["CP8"] : []),
    ...(isUnsent ? ["CP9"] : []),
    ...(operations.isRunning(sessionId) ? ["CP12"] : []),
  ];
}

/** The type of the last event that is not the announcement of a request, which is stored with the results it is made of. */
function lastFact(events: readonly Event[]): string {
  return events.findLast((event) => event.type !== "span.model_request_start")?.type ?? "";
}
