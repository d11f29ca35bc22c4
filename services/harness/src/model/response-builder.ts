/** Stream events of the Messages API → a response whose blocks carry the ids of the events they will become. */
import type { RawContentBlockDelta, RawMessageStreamEvent } from "@anthropic-ai/sdk/resources/messages";
import {
  type JsonObject,
  type ModelResponse,
  type ModelUsage,
  malformedInputField,
  type ResponseBlock,
} from "@manyhands/core";
import type { ModelListener } from "./model.ts";

type Open =
  | { type: "text"; id: string; index: number; text: string }
  | { type: "thinking"; id: string; thinking: string; signature: string }
  | { type: "redacted_thinking"; id: string; data: string }
  | { type: "tool_use"; id: string; name: string; json: string; given: unknown }
  | { type: "other" };

/** Collects one response. */
export class ResponseBuilder {
  private readonly blocks: ResponseBlock[] = [];
  private readonly listener: ModelListener;
  private readonly newId: () => string;
  private readonly now: () => number;
  private readonly startedMs: number;
  private open: Open | undefined;
  private stopReason = "";
  private firstTokenMs: number | undefined;
  private usage: ModelUsage = {
    input_tokens: 0,
    output_tokens: 0,
    cache_read_input_tokens: 0,
    cache_creation_input_tokens: 0,
  };
  private isWhole = false;

  constructor(listener: ModelListener, newId: () => string, now: () => number) {
    this.listener = listener;
    this.newId = newId;
    this.now = now;
    this.startedMs = now();
  }

  add(event: RawMessageStreamEvent): void {
    switch (event.type) {
      case "message_start":
        this.count(event.message.usage);
        break;
      case "content_block_start":
        this.firstTokenMs ??= this.now() - this.startedMs;
        this.begin(event.content_block);
        break;
      case "content_block_delta":
        this.extend(event.delta);
        break;
      case "content_block_stop":
        this.end();
        break;
      case "message_delta":
        this.stopReason = event.delta.stop_reason ?? this.stopReason;
        this.count(event.usage);
        break;
      case "message_stop":
        this.isWhole = true;
        break;
      default:
        break; // pings and what later versions add
    }
  }

  /** The whole response; undefined when the stream ended before it was whole. */
  finish(): ModelResponse | undefined {
    if (!this.isWhole) return undefined;
    const timeToFirstTokenMs = Math.round(this.firstTokenMs ?? this.now() - this.startedMs);
    return { blocks: this.blocks, stopReason: this.stopReason, usage: this.usage, timeToFirstTokenMs };
  }

  private begin(block: {
    type: string;
    id?: string;
    name?: string;
    text?: string;
    data?: string;
    input?: unknown;
  }): void {
    if (block.type === "text") {
      const last = this.blocks.at(-1);
      const id = last?.type === "text" ? last.id : this.newId();
      const index = this.blocks.filter((one) => one.type === "text" && one.id === id).length;
      if (index === 0) this.listener.started(id, "agent.message");
      this.open = { type: "text", id, index, text: "" };
      this.addText(block.text ?? "");
    } else if (block.type === "thinking") {
      this.open = { type: "thinking", id: this.newId(), thinking: "", signature: "" };
      this.listener.started(this.open.id, "agent.thinking");
    } else if (block.type === "redacted_thinking") {
      this.open = { type: "redacted_thinking", id: this.newId(), data: block.data ?? "" };
      this.listener.started(this.open.id, "agent.thinking");
    } else if (block.type === "tool_use") {
      this.listener.toolUse?.(block.name ?? "");
      this.open = { type: "tool_use", id: this.newId(), name: block.name ?? "", json: "", given: block.input };
    } else this.open = { type: "other" };
  }

  private extend(delta: RawContentBlockDelta): void {
    const { open } = this;
    if (delta.type === "text_delta") this.addText(delta.text);
    else if (delta.type === "thinking_delta" && open?.type === "thinking") open.thinking += delta.thinking;
    else if (delta.type === "signature_delta" && open?.type === "thinking") open.signature += delta.signature;
    else if (delta.type === "input_json_delta" && open?.type === "tool_use") open.json += delta.partial_json;
  }

  private addText(text: string): void {
    if (this.open?.type !== "text" || text === "") return;
    this.open.text += text;
    this.listener.text(this.open.id, this.open.index, text);
  }

  private end(): void {
    const { open } = this;
    this.open = undefined;
    if (open === undefined || open.type === "other") return;
    if (open.type === "tool_use") {
      this.blocks.push({ type: "tool_use", id: open.id, name: open.name, input: inputOf(open.json, open.given) });
    } else if (open.type === "text") this.blocks.push({ type: "text", id: open.id, text: open.text });
    else this.blocks.push(open);
  }

  /** Figures that a later event repeats replace the earlier ones: they are cumulative. */
  private count(usage: {
    input_tokens?: number | null;
    output_tokens?: number | null;
    cache_read_input_tokens?: number | null;
    cache_creation_input_tokens?: number | null;
  }): void {
    const before = this.usage;
    this.usage = {
      input_tokens: usage.input_tokens ?? before.input_tokens,
      output_tokens: usage.output_tokens ?? before.output_tokens,
      cache_read_input_tokens: usage.cache_read_input_tokens ?? before.cache_read_input_tokens,
      cache_creation_input_tokens: usage.cache_creation_input_tokens ?? before.cache_creation_input_tokens,
    };
  }
}

/** The input as an object; text that is no JSON object is kept as it is in one marked field, and then denied. */
function inputOf(json: string, given: unknown): JsonObject {
  if (json === "") return isObject(given) ? given : {};
  try {
    const parsed: unknown = JSON.parse(json);
    if (isObject(parsed)) return parsed;
  } catch {
    // falls through: what the model wrote is not JSON
  }
  return { [malformedInputField]: json };
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
