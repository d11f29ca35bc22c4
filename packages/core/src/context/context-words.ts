/** The platform's own words inside a model's context. They are part of cached prefixes: change them with care. */
import type { ContentBlock } from "../content.ts";
import type { Cut } from "./cut.ts";

/** Asks the model for a summary of everything above. */
export const summaryRequest = [
  "The conversation above has become too long to be shown to you again. Summarise it now for yourself: only this summary",
  "and the newest exchanges will be shown to you from here on.",
  "",
  "Keep: what the user asked for and every condition they set; what was done and found, with exact names, paths, ids and",
  "values; decisions and their reasons; what failed and why; what is unfinished and what you were about to do.",
  "Leave out greetings, repetitions and raw output. Answer with the summary as plain text and call no tool.",
].join("\n");

const recallHint = " Use the `recall` tool to look anything up in it.";

/** What stands at the beginning of a context that does not begin at the beginning. */
export function openingText(cut: Cut, canRecall: boolean): string {
  const where = `events 0 to ${cut.position - 1} of this session's log`;
  const hint = canRecall ? recallHint : "";
  const latest = cut.task.length > 0 ? "\n\nThe user's latest words before that point, unchanged:" : "";
  if (cut.summary === "") {
    return `[The earlier part of this conversation (${where}) is not shown here; the log keeps all of it.${hint}]${latest}`;
  }
  return `[Summary of the earlier part of this conversation (${where}); the log keeps all of it.${hint}]\n\n${cut.summary}${latest}`;
}

/** A tool result whose content is emptied; errors stay errors. */
export function clearedResult(
  answer: { content?: ContentBlock[]; is_error?: boolean },
  position: number,
): { content: ContentBlock[]; is_error?: boolean } {
  const words = `[This result is not shown any more; it is event ${position} of this session's log.]`;
  return {
    content: [{ type: "text", text: words }],
    ...(answer.is_error === undefined ? {} : { is_error: answer.is_error }),
  };
}
