/**
 * Tools that the platform runs itself, outside any hand: recall, web_fetch and web_search. They only read, so that after
 * a crash the next brain simply runs them again under the same id.
 */
import {
  boundText,
  type Call,
  type EventDraft,
  interruptedBeforeRun,
  type JsonObject,
  recallTool,
  resultDraft,
} from "@manyhands/core";
import { toAppError } from "@manyhands/kit";

/** What a tool answered. */
export interface ToolAnswer {
  readonly text: string;
  readonly isError: boolean;
}

/** One use of a tool. */
export interface ToolUse {
  readonly sessionId: string;
  readonly input: JsonObject;
  /** What the agent's configuration of the tool says beside policy, for instance `allowed_domains`. */
  readonly options: JsonObject;
  readonly outputBytes: number;
  readonly signal: AbortSignal;
}

/** A tool. Wrong input and refusals are answers; it rejects only when it could not do its work. */
export type ServerTool = (use: ToolUse) => Promise<ToolAnswer>;

/** The tools by name. */
export type ServerTools = Readonly<Record<string, ServerTool>>;

/** Runs one call to its result; never rejects unless detached. */
export async function runServerTool(
  tools: ServerTools,
  call: Call,
  use: Omit<ToolUse, "input" | "signal">,
  signals: { readonly detach: AbortSignal; readonly cancel: AbortSignal },
): Promise<EventDraft[]> {
  const answer = (words: string, isError: boolean) => [
    resultDraft(call, isError ? "NOT_STARTED" : "COMPLETED", boundText(words, use.outputBytes), isError),
  ];
  const tool = tools[call.name];
  if (tool === undefined) return answer(`The tool ${call.name} is not served by this platform.`, true);
  const signal = AbortSignal.any([signals.detach, signals.cancel]);
  try {
    signals.cancel.throwIfAborted();
    const { text, isError } = await tool({ ...use, input: call.input, signal });
    return [resultDraft(call, "COMPLETED", boundText(text, use.outputBytes), isError)];
  } catch (error) {
    signals.detach.throwIfAborted();
    if (signals.cancel.aborted) return answer(interruptedBeforeRun, true);
    return answer(`The ${call.name} call failed: ${toAppError(error).message}`, true);
  }
}

/** A refusal or a failure that the model is told. */
export function failed(text: string): ToolAnswer {
  return { text, isError: true };
}

/** Options of a tool in an agent's configuration; recall has none. */
export function toolOptions(
  toolset: { readonly exceptions: ReadonlyMap<string, { readonly options?: JsonObject }> } | undefined,
  name: string,
): JsonObject {
  return name === recallTool.name ? {} : (toolset?.exceptions.get(name)?.options ?? {});
}
