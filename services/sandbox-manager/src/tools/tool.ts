import type { Hand, OperationAction, OperationState } from "../drivers/driver.ts";

/** What the model is shown. */
export type ToolResult = {
  readonly content: string;
  readonly isError: boolean;
  /** A picture beside the words. */
  readonly image?: ResultImage;
};

/** A picture as the model takes it. */
export type ResultImage = { readonly mediaType: string; readonly data: Uint8Array };

/** How the operation of a call ended by itself (not killed, not lost). */
export type OperationEnd = { readonly state: OperationState; readonly exitCode: number; readonly output: Buffer };

/** A checked tool call: exactly one operation of the hand, and the words for its end. */
export type ToolCall = {
  /** The operation; where it depends on what is in the hand, `prepare` decides instead. */
  readonly action?: OperationAction;
  /** Looks into the hand, changes nothing. Not asked when the operation is recorded already. */
  readonly prepare?: (hand: Pick<Hand, "look">) => Promise<OperationAction | ToolResult>;
  /** Asked for in the input; the caller's own limit still holds. */
  readonly timeoutMs?: number;
  /** Pure: the same end gives the same words, for whoever reads it from the ledger later. */
  answer(end: OperationEnd): ToolResult;
};

/**
 * One tool of the agent toolset. `check` turns an input into a call, or throws InputError naming the field. One call
 * is one operation, so that the hand's ledger, which knows operations, knows tool calls.
 */
export type Tool = {
  readonly name: string;
  check(input: Readonly<Record<string, unknown>>): ToolCall;
};

/** An error result. */
export function errorResult(content: string): ToolResult {
  return { content, isError: true };
}
