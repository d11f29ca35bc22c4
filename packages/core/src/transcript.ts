/**
 * Events → the body of a Messages API request. Pure, so that any brain rebuilds byte for byte what another one sent.
 *
 * T1 Only the log below `contextPosition` counts, and each `span.model_request_start` says what its request was shown:
 *    input that arrived while a response or tool was on its way stands after it, where the model really saw it.
 * T2 Every tool use is followed by exactly one tool result, all results of one response in one user message in the
 *    order of the uses. One that the log lacks is filled in with words that say so; a dangling use cannot be built.
 * T3 User and assistant turns alternate; system turns stand after the user turn they came with.
 * T4 Thinking goes back unchanged with its signature; a response of thinking alone is left out.
 * T5 What of the log is shown at all is the context strategy's choice (context/cut.ts): a pure function of the same log.
 */
import type { AgentConfig, Effort } from "./agent-config.ts";
import { answeredUse } from "./answered-use.ts";
import { summaryRequest } from "./context/context-words.ts";
import { cutOf, droppedInSteps } from "./context/cut.ts";
import { type ContextStrategy, defaultContext } from "./context/strategy.ts";
import { isUnknownEvent, type SessionEvent, type UnknownEvent } from "./events.ts";
import { grantedAfter } from "./granted-hands.ts";
import { hasLongResult } from "./long-result.ts";
import { listedMcpTools, mcpToolDefinitions } from "./mcp-tools.ts";
import type { GrantedHand } from "./state.ts";
import { recallTool, type ToolDefinition, toolDefinitions } from "./tool-definitions.ts";
import type { ModelBlock, ModelTurn } from "./turn-blocks.ts";
import { TurnWriter } from "./turn-writer.ts";

export type { ModelBlock, ModelTurn } from "./turn-blocks.ts";

/** Marks the end of a prefix that the provider may cache. */
interface CacheMark {
  cache_control?: { type: "ephemeral" };
}

/** The body of a streaming Messages API request. */
export interface ModelRequest {
  model: string;
  max_tokens: number;
  stream: true;
  thinking?: { type: "adaptive" };
  output_config?: { effort: Effort };
  system?: ({ type: "text"; text: string } & CacheMark)[];
  tools?: (ToolDefinition & CacheMark)[];
  messages: ModelTurn[];
}

/** What a request is built from besides the log. */
export interface TranscriptOptions {
  readonly agent: AgentConfig;
  readonly contextPosition: number;
  readonly maxOutputTokens: number;
}

const mark = { cache_control: { type: "ephemeral" as const } };

/** The request that shows the model the log below `contextPosition`, as far as the agent's strategy lets it. */
export function buildModelRequest(
  events: readonly (SessionEvent | UnknownEvent)[],
  options: TranscriptOptions,
): ModelRequest {
  return requestOf(events, options, buildTurns(events, options.contextPosition, options.agent.context));
}

/**
 * The request that asks the model to summarise the log below `contextPosition`: the conversation as it was, so that it
 * is read from the provider's cache, and the instruction behind it.
 */
export function buildSummaryRequest(
  events: readonly (SessionEvent | UnknownEvent)[],
  options: TranscriptOptions,
): ModelRequest {
  const turns = buildTurns(events, options.contextPosition, options.agent.context);
  const instruction: ModelBlock = { type: "text", text: summaryRequest };
  const last = turns.at(-1);
  if (last?.role === "user") last.content.push(instruction);
  else turns.push({ role: "user", content: [instruction] });
  return requestOf(events, options, turns);
}

function requestOf(
  events: readonly (SessionEvent | UnknownEvent)[],
  options: TranscriptOptions,
  turns: ModelTurn[],
): ModelRequest {
  const { agent } = options;
  const mcp = agent.mcp.size === 0 ? [] : mcpToolDefinitions(agent, listedMcpTools(events, options.contextPosition));
  const tools = [...toolDefinitions(agent, grantedBelow(events, options.contextPosition)), ...mcp];
  const needsRecall = usesRecall(turns) || (agent.mcp.size > 0 && hasLongResult(events, options.contextPosition));
  if (needsRecall && !tools.some((tool) => tool.name === recallTool.name)) tools.push(recallTool);
  const isThinking = thinksAdaptively(agent.model);
  return {
    model: agent.model,
    max_tokens: options.maxOutputTokens,
    stream: true,
    ...(isThinking ? { thinking: { type: "adaptive" as const } } : {}),
    ...(isThinking && agent.effort !== undefined ? { output_config: { effort: agent.effort } } : {}),
    ...(agent.system === "" ? {} : { system: [{ type: "text" as const, text: agent.system, ...mark }] }),
    ...(tools.length === 0
      ? {}
      : { tools: tools.map((tool, at) => (at === tools.length - 1 ? { ...tool, ...mark } : tool)) }),
    messages: withCacheMarks(turns),
  };
}

function grantedBelow(events: readonly (SessionEvent | UnknownEvent)[], contextPosition: number) {
  let granted: readonly GrantedHand[] = [];
  for (const event of events) {
    if (event.position >= contextPosition) break;
    if (!isUnknownEvent(event)) granted = grantedAfter(granted, event);
  }
  return granted;
}

/** A tool that the shown history uses must be defined, also after the strategy that offered it was changed. */
function usesRecall(turns: readonly ModelTurn[]): boolean {
  return turns.some((turn) => turn.content.some((one) => one.type === "tool_use" && one.name === recallTool.name));
}

/** The turns alone. */
export function buildTurns(
  events: readonly (SessionEvent | UnknownEvent)[],
  contextPosition: number,
  strategy: ContextStrategy = defaultContext,
): ModelTurn[] {
  const cut = cutOf(events, contextPosition, strategy);
  const writer = new TurnWriter(resultsToClear(events, contextPosition, strategy));
  if (cut !== undefined) writer.open(cut, strategy.recall);
  for (const event of events) {
    if (event.position >= contextPosition) break;
    if (event.position >= (cut?.position ?? 0) && !isUnknownEvent(event)) writer.add(event);
  }
  writer.endUserTurn(contextPosition);
  return writer.finish();
}

/** Ids of the tool uses whose results are emptied. */
function resultsToClear(
  events: readonly (SessionEvent | UnknownEvent)[],
  contextPosition: number,
  strategy: ContextStrategy,
): ReadonlySet<string> {
  if (strategy.type !== "clear_tool_results") return new Set();
  const ids: string[] = [];
  for (const event of events) {
    if (event.position >= contextPosition) break;
    const id = answeredUse(event);
    if (id !== undefined) ids.push(id);
  }
  const { keep_results: keep } = strategy;
  return new Set(ids.slice(0, droppedInSteps(ids.length, keep, keep)));
}

/**
 * Puts the moving cache marks on the last block of the last two user turns; system and tools carry the fixed ones. The
 * older of the two is where the request before ended, so it is found however many blocks have come since (the provider
 * looks for an entry at most 20 blocks before a mark).
 */
function withCacheMarks(turns: ModelTurn[]): ModelTurn[] {
  const users = turns.flatMap((turn, at) => (turn.role === "user" && turn.content.length > 0 ? [at] : []));
  const marked = new Set(users.slice(-2));
  return turns.map((turn, at) => {
    const block = turn.content.at(-1);
    if (!marked.has(at) || block === undefined) return turn;
    return { ...turn, content: turn.content.with(-1, { ...block, ...mark }) };
  });
}

const olderClaude = /^claude-(2|3|instant|(opus|sonnet|haiku)-4(-[0-5])?(-20\d{6})?$)/;

/**
 * Whether the model takes `thinking: {type: "adaptive"}`: the Claude models since 4.6 and the demo model. It depends
 * on the model's name alone, so that every brain builds the same request.
 * https://platform.claude.com/docs/en/build-with-claude/adaptive-thinking
 */
export function thinksAdaptively(model: string): boolean {
  return model.startsWith("demo") || (model.startsWith("claude-") && !olderClaude.test(model));
}
