import type { Hand, OperationAction, OperationState } from "../drivers/driver.ts";

/** What the model is shown. */
export type ToolResult = { readonly content: string; readonly isError: boolean };

/** A tool's own answer, or one operation of the hand whose end `answer` turns into words. */
export type ToolPlan =
  | { readonly kind: "answer"; readonly result: ToolResult }
  | {
      readonly kind: "operation";
      readonly action: OperationAction;
      /** Asked for in the input; the caller's own limit still holds. */
      readonly timeoutMs?: number;
      /** Pure: the same end gives the same words, for whoever reads it from the ledger later. */
      answer(end: OperationEnd): ToolResult;
    };

/** How the operation of a plan ended by itself (not killed, not lost). */
export type OperationEnd = { readonly state: OperationState; readonly exitCode: number; readonly output: Buffer };

/**
 * One tool of the agent toolset. `plan` checks the input and decides on exactly one operation, so that the hand's
 * ledger, which knows operations, knows tool calls. It may look into the hand, but changes nothing.
 */
export type Tool = {
  readonly name: string;
  plan(input: Readonly<Record<string, unknown>>, hand: Pick<Hand, "look">): Promise<ToolPlan> | ToolPlan;
};

/** An error result. */
export function errorAnswer(content: string): ToolPlan {
  return { kind: "answer", result: { content, isError: true } };
}
