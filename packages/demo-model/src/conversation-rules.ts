import { ApiError } from "./api-error.ts";
import { blocksOf, type ContentBlock, type CountRequest, type Message } from "./request-schema.ts";
import { isUnmodifiedThinking } from "./signature.ts";
import { isThinkingToolId } from "./tool-id.ts";

/** What the rules depend on besides the request. */
export type ConversationOptions = {
  /** Tool names that may appear in the history although the request does not define them. */
  readonly extraToolNames: ReadonlySet<string>;
};

const MAX_CACHE_BREAKPOINTS = 4;

/**
 * The rules of the Messages API over a whole conversation; throws a 400 {@link ApiError} in the API's own words for
 * the first one broken. Two are stricter than the API on purpose, because they catch broken transcripts: roles must
 * alternate (the API merges consecutive turns) and every tool used in the history must be defined in the request.
 * Rules: https://docs.anthropic.com/en/api/messages and https://docs.anthropic.com/en/docs/agents-and-tools/tool-use
 */
export function checkConversation(request: CountRequest, options: ConversationOptions): void {
  checkTools(request);
  checkRoles(request.messages);
  for (const [index, turn] of request.messages.entries()) checkContent(turn, index);
  checkToolPairs(request.messages);
  checkToolNames(request, options);
  checkThinking(request);
  checkCacheBreakpoints(request);
}

function checkTools(request: CountRequest): void {
  const names = (request.tools ?? []).map((tool) => tool.name);
  if (new Set(names).size !== names.length) throw ApiError.invalid("tools: Tool names must be unique.");
  for (const [index, tool] of (request.tools ?? []).entries()) {
    const isCustom = tool.type === undefined || tool.type === null || tool.type === "custom";
    if (isCustom && tool.input_schema === undefined) {
      throw ApiError.invalid(`tools.${index}.custom.input_schema: Field required`);
    }
  }
  const choice = request.tool_choice;
  if (choice === undefined) return;
  if (names.length === 0)
    throw ApiError.invalid("tool_choice: tool_choice may only be specified while providing tools.");
  if (choice.type === "tool" && !names.includes(choice.name ?? "")) {
    throw ApiError.invalid(`tool_choice: Tool '${choice.name ?? ""}' not found in provided tools`);
  }
}

function checkRoles(messages: readonly Message[]): void {
  if (messages.length === 0) throw ApiError.invalid("messages: at least one message is required");
  const spoken = messages.filter((turn) => turn.role !== "system");
  if (spoken[0]?.role !== "user") throw ApiError.invalid('messages: first message must use the "user" role');
  for (const [index, turn] of spoken.entries()) {
    if (index > 0 && turn.role === spoken[index - 1]?.role) {
      throw ApiError.invalid(
        `messages: roles must alternate between "user" and "assistant", but found multiple "${turn.role}" roles in a row`,
      );
    }
  }
  if (spoken.at(-1)?.role === "assistant") {
    throw ApiError.invalid(
      "This model does not support assistant message prefill. The conversation must end with a user message.",
    );
  }
}

function checkContent(turn: Message, index: number): void {
  const blocks = blocksOf(turn);
  if (blocks.length === 0 || turn.content === "") {
    throw ApiError.invalid(`messages.${index}: all messages must have non-empty content`);
  }
  for (const [position, block] of blocks.entries()) {
    const where = `messages.${index}.content.${position}`;
    if (block.type === "text" && block.text === "") {
      throw ApiError.invalid("messages: text content blocks must be non-empty");
    }
    if (block.type === "text" && block.text.trim() === "") {
      throw ApiError.invalid("messages: text content blocks must contain non-whitespace text");
    }
    if (block.type === "tool_use" && turn.role !== "assistant") {
      throw ApiError.invalid(`${where}: \`tool_use\` blocks can only be in \`assistant\` messages`);
    }
    if (block.type === "tool_result" && turn.role !== "user") {
      throw ApiError.invalid(`${where}: \`tool_result\` blocks can only be in \`user\` messages`);
    }
    if ((block.type === "thinking" || block.type === "redacted_thinking") && turn.role !== "assistant") {
      throw ApiError.invalid(`${where}: \`${block.type}\` blocks can only be in \`assistant\` messages`);
    }
  }
}

function checkToolPairs(messages: readonly Message[]): void {
  const seen = new Set<string>();
  for (const [index, turn] of messages.entries()) {
    if (turn.role === "assistant") {
      for (const [position, block] of blocksOf(turn).entries()) {
        if (block.type !== "tool_use") continue;
        if (seen.has(block.id)) {
          throw ApiError.invalid(`messages.${index}.content.${position}: \`tool_use\` ids must be unique`);
        }
        seen.add(block.id);
      }
      checkAnswered(messages, index);
    }
    if (turn.role === "user") checkResultsBelong(messages, index);
  }
}

/** Every tool use of an assistant turn is answered at the start of the very next turn. */
function checkAnswered(messages: readonly Message[], index: number): void {
  const asked = toolUseIds(messages[index]);
  const next = messages[index + 1];
  const leading = next?.role === "user" ? leadingResultIds(blocksOf(next)) : new Set<string>();
  const open = asked.filter((id) => !leading.has(id));
  if (open.length > 0) {
    throw ApiError.invalid(
      `messages.${index}: \`tool_use\` ids were found without \`tool_result\` blocks immediately after: ${open.join(", ")}. ` +
        "Each `tool_use` block must have a corresponding `tool_result` block in the next message.",
    );
  }
}

function checkResultsBelong(messages: readonly Message[], index: number): void {
  const turn = messages[index];
  if (turn === undefined) return;
  const asked = new Set(toolUseIds(messages[index - 1]));
  const answered = new Set<string>();
  for (const [position, block] of blocksOf(turn).entries()) {
    if (block.type !== "tool_result") continue;
    const where = `messages.${index}.content.${position}`;
    if (!asked.has(block.tool_use_id)) {
      throw ApiError.invalid(
        `${where}: unexpected \`tool_use_id\` found in \`tool_result\` blocks: ${block.tool_use_id}. ` +
          "Each `tool_result` block must have a corresponding `tool_use` block in the previous message.",
      );
    }
    if (answered.has(block.tool_use_id)) {
      throw ApiError.invalid(
        `${where}: each tool_use must have a single result. Found multiple \`tool_result\` blocks with id: ${block.tool_use_id}`,
      );
    }
    answered.add(block.tool_use_id);
  }
}

function checkToolNames(request: CountRequest, options: ConversationOptions): void {
  const known = new Set([...(request.tools ?? []).map((tool) => tool.name), ...options.extraToolNames]);
  for (const [index, turn] of request.messages.entries()) {
    for (const [position, block] of blocksOf(turn).entries()) {
      if (block.type === "tool_use" && !known.has(block.name)) {
        throw ApiError.invalid(
          `messages.${index}.content.${position}.tool_use.name: Tool '${block.name}' not found in provided tools`,
        );
      }
    }
  }
}

function checkThinking(request: CountRequest): void {
  for (const [index, turn] of request.messages.entries()) {
    for (const [position, block] of blocksOf(turn).entries()) {
      if (block.type === "thinking" && !isUnmodifiedThinking(block.thinking, block.signature)) {
        throw ApiError.invalid(`messages.${index}.content.${position}: Invalid \`signature\` in \`thinking\` block`);
      }
    }
  }
  const isOn = request.thinking?.type === "enabled" || request.thinking?.type === "adaptive";
  const last = request.messages.findLastIndex((turn) => turn.role === "assistant");
  const turn = request.messages[last];
  if (!isOn || turn === undefined) return;
  const first = blocksOf(turn)[0];
  const cameWithThinking = toolUseIds(turn).some(isThinkingToolId);
  if (cameWithThinking && first?.type !== "thinking" && first?.type !== "redacted_thinking") {
    throw ApiError.invalid(
      `messages.${last}.content.0.type: Expected \`thinking\` or \`redacted_thinking\`, but found \`${first?.type ?? ""}\`. ` +
        "When `thinking` is enabled, a final `assistant` message must start with a thinking block (preceeding the " +
        "lastmost set of `tool_use` and `tool_result` blocks).",
    );
  }
}

function checkCacheBreakpoints(request: CountRequest): void {
  const marked = [
    ...(request.tools ?? []),
    ...(Array.isArray(request.system) ? request.system : []),
    ...request.messages.flatMap((turn) => blocksOf(turn)),
  ].filter((block) => "cache_control" in block && block.cache_control !== undefined && block.cache_control !== null);
  const count = marked.length + (request.cache_control ? 1 : 0);
  if (count > MAX_CACHE_BREAKPOINTS) {
    throw ApiError.invalid(
      `A maximum of ${MAX_CACHE_BREAKPOINTS} blocks with cache_control may be provided. Found ${count}.`,
    );
  }
}

function toolUseIds(turn: Message | undefined): string[] {
  if (turn?.role !== "assistant") return [];
  return blocksOf(turn).flatMap((block) => (block.type === "tool_use" ? [block.id] : []));
}

function leadingResultIds(blocks: readonly ContentBlock[]): Set<string> {
  const end = blocks.findIndex((block) => block.type !== "tool_result");
  const leading = end === -1 ? blocks : blocks.slice(0, end);
  return new Set(leading.flatMap((block) => (block.type === "tool_result" ? [block.tool_use_id] : [])));
}
