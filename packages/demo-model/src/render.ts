import type { Choice } from "./choose-step.ts";
import { blocksOf, type CreateRequest } from "./request-schema.ts";
import { digest, signThinking } from "./signature.ts";
import { fill, fillJson } from "./template.ts";
import { toolUseId } from "./tool-id.ts";
import { estimateTokens, type InputUsage } from "./usage.ts";

/** One block of a response. */
export type OutputBlock =
  | { readonly type: "thinking"; readonly thinking: string; readonly signature: string }
  | { readonly type: "text"; readonly text: string; readonly citations: null }
  | {
      readonly type: "tool_use";
      readonly id: string;
      readonly name: string;
      readonly input: unknown;
      readonly caller: { readonly type: "direct" };
      /** What is streamed instead of the input, where a scenario wants broken JSON. */
      readonly raw?: string;
    };

/** Why the response ended. */
export type StopReason = "end_turn" | "tool_use" | "max_tokens" | "stop_sequence" | "refusal" | "pause_turn";

/** A whole response of the Messages API. */
export type OutputMessage = {
  readonly id: string;
  readonly type: "message";
  readonly role: "assistant";
  readonly model: string;
  readonly content: readonly OutputBlock[];
  readonly stop_reason: StopReason;
  readonly stop_sequence: string | null;
  readonly stop_details: null;
  readonly container: null;
  readonly diagnostics: null;
  readonly usage: InputUsage & {
    readonly cache_creation: { readonly ephemeral_5m_input_tokens: number; readonly ephemeral_1h_input_tokens: number };
    readonly output_tokens: number;
    readonly output_tokens_details: { readonly thinking_tokens: number };
    readonly server_tool_use: null;
    readonly service_tier: "standard";
    readonly inference_geo: null;
    readonly speed: null;
  };
};

type Ending = { readonly reason: StopReason; readonly sequence: string | null };

/** Turns a chosen step into the response: same request, same response, down to the ids. */
export function renderMessage(choice: Choice, request: CreateRequest, input: InputUsage): OutputMessage {
  const hash = conversationHash(request);
  const whole = renderBlocks(choice, request, hash);
  const { content, ending } = limit(whole, request);
  const thinkingTokens = content.reduce((sum, block) => sum + (block.type === "thinking" ? tokensOf(block) : 0), 0);
  return {
    id: `msg_demo${digest(`${choice.scenario.name}/${hash}`, 24)}`,
    type: "message",
    role: "assistant",
    model: request.model,
    content,
    stop_reason: choice.step?.stop_reason ?? ending.reason,
    stop_sequence: ending.sequence,
    stop_details: null,
    container: null,
    diagnostics: null,
    usage: {
      ...input,
      cache_creation: { ephemeral_5m_input_tokens: input.cache_creation_input_tokens, ephemeral_1h_input_tokens: 0 },
      output_tokens: content.reduce((sum, block) => sum + tokensOf(block), 0),
      output_tokens_details: { thinking_tokens: thinkingTokens },
      server_tool_use: null,
      service_tier: "standard",
      inference_geo: null,
      speed: null,
    },
  };
}

/** The hash that ids follow from: the conversation and the system prompt, without cache marks. */
function conversationHash(request: CreateRequest): string {
  const turns = request.messages.map((turn) => [turn.role, blocksOf(turn)]);
  const text = JSON.stringify([request.model, request.system ?? "", turns], (key, value: unknown) =>
    key === "cache_control" ? undefined : value,
  );
  return digest(text);
}

function renderBlocks(choice: Choice, request: CreateRequest, hash: string): OutputBlock[] {
  const { scenario, step, values } = choice;
  if (step === undefined) return [textBlock(`The scenario "${scenario.name}" has no step left for this conversation.`)];
  const missing = missingTools(choice, request);
  const showsThinking = request.thinking?.type === "enabled" || request.thinking?.type === "adaptive";
  const hasThinking = showsThinking && step.emit.some((block) => "thinking" in block);
  const blocks = step.emit.flatMap((block, position): OutputBlock[] => {
    if ("thinking" in block) return showsThinking ? [thinkingBlock(fill(block.thinking, values), request)] : [];
    if ("text" in block) return textBlocks(fill(block.text, values));
    if (missing.length > 0) return [];
    const { name, input, raw_input: raw, id = toolUseId(hash, position, hasThinking) } = block.tool_use;
    const use = { type: "tool_use", id, name, input: fillJson(input, values), caller: { type: "direct" } } as const;
    return [raw === undefined ? use : { ...use, raw }];
  });
  if (missing.length === 0) return blocks;
  return [
    ...blocks,
    textBlock(`I would now use the tool ${missing.join(", ")}, but I was not given it, so I stop here.`),
  ];
}

function missingTools({ step }: Choice, request: CreateRequest): string[] {
  const isForbidden = request.tool_choice?.type === "none";
  const offered = new Set(isForbidden ? [] : (request.tools ?? []).map((tool) => tool.name));
  return (step?.emit ?? []).flatMap((block) =>
    "tool_use" in block && !block.tool_use.allow_unknown && !offered.has(block.tool_use.name)
      ? [block.tool_use.name]
      : [],
  );
}

function thinkingBlock(thinking: string, request: CreateRequest): OutputBlock {
  const isOmitted = request.thinking?.display === "omitted";
  return { type: "thinking", thinking: isOmitted ? "" : thinking, signature: signThinking(thinking) };
}

/** A text that came out blank is left out: sent back in the next request, it would be refused. */
function textBlocks(text: string): OutputBlock[] {
  return text.trim() === "" ? [] : [textBlock(text)];
}

function textBlock(text: string): OutputBlock {
  return { type: "text", text, citations: null };
}

/** Applies `stop_sequences`, then `max_tokens`: a text is cut, a tool use that does not fit is left out. */
function limit(blocks: readonly OutputBlock[], request: CreateRequest): { content: OutputBlock[]; ending: Ending } {
  const content: OutputBlock[] = [];
  let left = request.max_tokens;
  for (const block of blocks) {
    const stopped = block.type === "text" ? atStopSequence(block.text, request.stop_sequences ?? []) : undefined;
    const shown = stopped === undefined ? block : textBlock(stopped.before);
    const cost = tokensOf(shown);
    if (cost > left) {
      const part =
        shown.type === "text"
          ? Buffer.from(shown.text)
              .subarray(0, left * 4)
              .toString("utf8")
          : "";
      if (part.trim() !== "") content.push(textBlock(part.replace(/\uFFFD+$/, "")));
      return { content, ending: { reason: "max_tokens", sequence: null } };
    }
    left -= cost;
    if (stopped === undefined || stopped.before !== "") content.push(shown);
    if (stopped !== undefined) return { content, ending: { reason: "stop_sequence", sequence: stopped.sequence } };
  }
  const asksTool = content.some((block) => block.type === "tool_use");
  return { content, ending: { reason: asksTool ? "tool_use" : "end_turn", sequence: null } };
}

function atStopSequence(text: string, sequences: readonly string[]): { before: string; sequence: string } | undefined {
  const found = sequences
    .map((sequence) => ({ sequence, at: text.indexOf(sequence) }))
    .filter(({ at }) => at !== -1)
    .sort((a, b) => a.at - b.at)[0];
  return found === undefined ? undefined : { before: text.slice(0, found.at), sequence: found.sequence };
}

function tokensOf(block: OutputBlock): number {
  if (block.type === "text") return estimateTokens(block.text);
  if (block.type === "thinking") return estimateTokens(block.thinking);
  return estimateTokens(block.name + JSON.stringify(block.input));
}
