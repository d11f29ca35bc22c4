/** Blocks of a model's turns, in the shape of the Messages API. */
import { objectOf, stringOf } from "./agent-config.ts";
import type { ContentBlock } from "./content.ts";
import type { EventOf, Json } from "./events.ts";

/** A block of a turn, in the shape of the Messages API. */
export type ModelBlock = { [key: string]: Json } & { type: string };

/** One turn. */
export interface ModelTurn {
  role: "user" | "assistant" | "system";
  content: ModelBlock[];
}

/** What a client said, or what the platform found out meanwhile. */
export type Input = EventOf<"user.message" | "user.define_outcome" | "system.message" | "push.settled">;

/** What a tool answered. */
export type Answer = { content?: ContentBlock[]; is_error?: boolean };

/** What was said, as blocks; never none. */
export function inputBlocks(input: Input): ModelBlock[] {
  if (input.type === "push.settled") return [{ type: "text", text: pushText(input) }];
  if (input.type === "user.define_outcome") return [{ type: "text", text: outcomeText(input) }];
  const blocks = input.content.filter(isNotEmpty).map(modelBlock);
  return blocks.length > 0 ? blocks : [{ type: "text", text: "(empty message)" }];
}

function outcomeText(event: EventOf<"user.define_outcome">): string {
  const rubric = stringOf(objectOf(event.rubric).content);
  return `Outcome to reach: ${event.description}${rubric === "" ? "" : `\n\nIt will be judged by:\n${rubric}`}`;
}

const pushWords = { COMPLETED: "was moved", NOT_STARTED: "was not moved", UNKNOWN: "is not known" } as const;

/** For the model: its `git push` only saw a connection that broke. */
function pushText({ url, refs }: EventOf<"push.settled">): string {
  const lines = refs.map(({ ref, outcome, new: wanted }) => `- ${ref} (to ${wanted}): ${pushWords[outcome]}`);
  return `[The answer to a git push to ${url} was lost. The repository was asked afterwards:\n${lines.join("\n")}]`;
}

/** Thinking as it came, with its signature. */
export function thinkingBlock(event: EventOf<"agent.thinking">): ModelBlock {
  if (event.redacted_data !== "") return { type: "redacted_thinking", data: event.redacted_data };
  return { type: "thinking", thinking: event.thinking, signature: event.signature };
}

/** The answer to a tool use. */
export function toolResult(id: string, answer: Answer): ModelBlock {
  const content = (answer.content ?? []).filter(isNotEmpty).map(modelBlock);
  return {
    type: "tool_result",
    tool_use_id: id,
    ...(content.length === 0 ? {} : { content }),
    ...(answer.is_error === true ? { is_error: true } : {}),
  };
}

/** The Messages API refuses text blocks without a visible character. */
export function isNotEmpty(block: ContentBlock): boolean {
  return block.type !== "text" || block.text.trim() !== "";
}

/** A content block as the model takes it. */
export function modelBlock(block: ContentBlock): ModelBlock {
  switch (block.type) {
    case "text":
      return { type: "text", text: block.text };
    case "image":
      return { type: "image", source: { ...block.source } };
    case "document":
      return {
        type: "document",
        source: { ...block.source },
        ...(block.title === undefined ? {} : { title: block.title }),
        ...(block.context === undefined ? {} : { context: block.context }),
      };
    case "search_result": {
      const content = block.content.map((part) => ({ type: "text", text: part.text }));
      return { type: "search_result", source: block.source, title: block.title, content };
    }
    case "redacted":
      return { type: "text", text: "[redacted]" };
    default: {
      const never: never = block;
      return never;
    }
  }
}
