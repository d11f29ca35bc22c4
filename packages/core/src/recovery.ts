/**
 * What a tool use is answered with when its tool could not simply answer. Unknown is never mapped to done or not done:
 * it goes to the model in words that say what may have happened and advise to verify before repeating.
 */
import type { EventDraft } from "./actions.ts";
import { type ContentBlock, text } from "./content.ts";
import type { OperationOutcome } from "./events.ts";
import { handField } from "./granted-hands.ts";
import type { Call } from "./state.ts";
import { malformedInputField } from "./tool-policy.ts";

/** How an operation that was in flight when a brain died stands, and what follows from it. */
export type FollowUp = "useResult" | "keepFollowing" | "sendAgain" | "sayUnknown";

/** The crash table for one operation: what `Attach` says → what the next brain does. */
export function followUp(outcome: OperationOutcome | "RUNNING", attempt: number, maxAttempts: number): FollowUp {
  switch (outcome) {
    case "COMPLETED":
    case "KILLED":
      return "useResult";
    case "RUNNING":
      return "keepFollowing";
    case "NOT_STARTED":
      return attempt < maxAttempts ? "sendAgain" : "useResult";
    case "UNKNOWN":
      return "sayUnknown";
    default: {
      const never: never = outcome;
      return never;
    }
  }
}

/** Words for an operation whose end nobody saw. */
export function unknownOutcome(call: Call, isHandLost: boolean, detail = ""): string {
  return [
    `The outcome of this ${call.name} call is unknown: it may have completed, may have partly completed, or may not have run at all.`,
    ...sandboxWords(call, isHandLost),
    ...(detail === "" ? [] : [detail]),
    "Verify what actually happened before you repeat it.",
  ].join(" ");
}

/** A call of an MCP server's tool ran in no sandbox. */
function sandboxWords(call: Call, isHandLost: boolean): string[] {
  if (isHandLost) {
    return ["The sandbox it ran in was lost; the next call gets a new one, without files that were only there."];
  }
  return call.kind === "mcp" ? [] : ["The sandbox was not replaced."];
}

/** Words for an operation that is proved not to have run. */
export function notStarted(call: Call, detail: string): string {
  return `This ${call.name} call was not run: ${detail}`;
}

/** Why a call to another session's hand is not run: no grant allows it, or not any more. */
export function noRight({ name, input }: Pick<Call, "name" | "input">): string {
  return `there is no right to use ${name} in the sandbox ${String(input[handField])}. Leave \`${handField}\` out for your own.`;
}

/** Words for a tool use that the user's interrupt ended before it ran. */
export const interruptedBeforeRun = "Interrupted by the user before this call was run. It had no effect.";

/** Words added to what an operation wrote before the user's interrupt stopped it. */
export const interruptedWhileRunning =
  "Interrupted by the user while this call was running: it was stopped and may have partly taken effect.";

/** Words for an operation that ran when its session was forked. */
export const forkedWhileRunning =
  "This session was forked while the call was running in the other one, whose sandbox is not shared.";

/** The result event of a tool use; an empty outcome where no operation was involved. */
export function resultDraft(
  call: Call,
  outcome: OperationOutcome | "",
  content: readonly ContentBlock[] | string,
  isError: boolean,
  handId = "",
): EventDraft<"agent.tool_result" | "agent.mcp_tool_result"> {
  const answer = {
    content: typeof content === "string" ? (content === "" ? [] : [text(content)]) : [...content],
    is_error: isError,
    outcome,
  };
  if (call.kind === "mcp") return { type: "agent.mcp_tool_result", mcp_tool_use_id: call.id, ...answer };
  return { type: "agent.tool_result", tool_use_id: call.id, hand_id: handId, ...answer };
}

/** The answer to a tool use that was refused, by the server or by the user. */
export function deniedDraft(call: Call): EventDraft {
  const message = call.progress.at === "denied" ? call.progress.message : undefined;
  if (message !== undefined) return resultDraft(call, "", `The user denied this call: ${message}`, true);
  if (malformedInputField in call.input) {
    return resultDraft(call, "", "This call was not run: its input was not a valid JSON object.", true);
  }
  const denied = `This call was denied: ${call.name} is not enabled for this agent, or the user said no.`;
  return resultDraft(call, "", denied, true);
}

/** The answer that ends a tool use which the turn's end leaves open. */
export function abandonedDraft(call: Call, why: string): EventDraft {
  const { progress } = call;
  // A worker from outside may have begun it the moment it was in the log.
  if (progress.at === "waiting" && progress.for === "worker") {
    return resultDraft(call, "UNKNOWN", unknownOutcome(call, false, interruptedWhileRunning), true);
  }
  if (progress.at === "dispatched" || progress.at === "leftBehind") {
    return resultDraft(call, "UNKNOWN", unknownOutcome(call, false, why), true, progress.handId);
  }
  return call.kind === "custom"
    ? resultDraft({ ...call, kind: "agent" }, "", why, true)
    : resultDraft(call, "NOT_STARTED", why, true);
}

/** Text of at most `maxBytes` UTF-8 bytes: head and tail stay, the middle is named. */
export function boundText(value: string, maxBytes: number): string {
  const bytes = new TextEncoder().encode(value);
  if (bytes.length <= maxBytes) return value;
  const half = Math.floor(maxBytes / 2);
  const decoder = new TextDecoder();
  const head = decoder.decode(bytes.subarray(0, half)).replace(/\uFFFD+$/, "");
  const tail = decoder.decode(bytes.subarray(bytes.length - half)).replace(/^\uFFFD+/, "");
  return `${head}\n[… ${bytes.length - 2 * half} bytes left out …]\n${tail}`;
}
