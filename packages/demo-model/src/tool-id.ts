import { digest } from "./signature.ts";

/**
 * Ids of tool uses. They follow from the conversation, and their first letter says whether the response they came in
 * began with thinking: that lets a server without memory notice a transcript that lost its thinking blocks.
 */
const WITH_THINKING = "toolu_demo1T";
const WITHOUT_THINKING = "toolu_demo1P";

/** The id of the tool use at `position` in the response to the conversation with hash `conversationHash`. */
export function toolUseId(conversationHash: string, position: number, hasThinking: boolean): string {
  return `${hasThinking ? WITH_THINKING : WITHOUT_THINKING}${digest(`${conversationHash}/${position}`, 20)}`;
}

/** Whether the tool use came in a response that began with a thinking block. */
export function isThinkingToolId(id: string): boolean {
  return id.startsWith(WITH_THINKING);
}
