import type { OutputBlock, OutputMessage } from "./render.ts";
import { estimateTokens } from "./usage.ts";

const TEXT_CHUNK_CHARS = 16;

/** One server-sent event, and the estimated tokens it carries (0 for all but deltas). */
export type StreamEvent = { readonly text: string; readonly tokens: number };

/**
 * The events of a streamed response, in the order of the real API
 * (https://docs.anthropic.com/en/docs/build-with-claude/streaming): message_start, then per block start, deltas and
 * stop with one `ping` after the first start, then message_delta and message_stop.
 */
export function* streamEvents(message: OutputMessage, chunkChars = TEXT_CHUNK_CHARS): Generator<StreamEvent> {
  const { usage } = message;
  yield event("message_start", {
    message: {
      ...message,
      content: [],
      stop_reason: null,
      stop_sequence: null,
      usage: { ...usage, output_tokens: 1, output_tokens_details: { thinking_tokens: 0 } },
    },
  });
  for (const [index, block] of message.content.entries()) {
    yield event("content_block_start", { index, content_block: emptyBlock(block) });
    if (index === 0) yield event("ping", {});
    for (const delta of deltasOf(block, chunkChars)) {
      yield event("content_block_delta", { index, delta: delta.value }, delta.tokens);
    }
    yield event("content_block_stop", { index });
  }
  const { stop_reason, stop_sequence } = message;
  yield event("message_delta", {
    delta: { stop_reason, stop_sequence, stop_details: null, container: null },
    usage: {
      input_tokens: usage.input_tokens,
      cache_creation_input_tokens: usage.cache_creation_input_tokens,
      cache_read_input_tokens: usage.cache_read_input_tokens,
      output_tokens: usage.output_tokens,
      output_tokens_details: usage.output_tokens_details,
      server_tool_use: null,
    },
  });
  yield event("message_stop", {});
}

/** One event as it goes over the wire; `data.type` repeats the event's name. */
export function event(name: string, data: object, tokens = 0): StreamEvent {
  return { text: `event: ${name}\ndata: ${JSON.stringify({ type: name, ...data })}\n\n`, tokens };
}

function emptyBlock(block: OutputBlock): object {
  if (block.type === "text") return { ...block, text: "" };
  if (block.type === "thinking") return { ...block, thinking: "", signature: "" };
  const { raw: _, ...shown } = block;
  return { ...shown, input: {} };
}

type Delta = { readonly value: object; readonly tokens: number };

function deltasOf(block: OutputBlock, chunkChars: number): Delta[] {
  if (block.type === "text") {
    return pieces(block.text, chunkChars).map((text) => delta({ type: "text_delta", text }, text));
  }
  if (block.type === "thinking") {
    const thoughts = pieces(block.thinking, chunkChars).map((thinking) =>
      delta({ type: "thinking_delta", thinking }, thinking),
    );
    return [...thoughts, delta({ type: "signature_delta", signature: block.signature }, "")];
  }
  // The real API opens a tool's input with an empty piece.
  return ["", ...pieces(block.raw ?? JSON.stringify(block.input), chunkChars)].map((partial_json) =>
    delta({ type: "input_json_delta", partial_json }, partial_json),
  );
}

function delta(value: object, text: string): Delta {
  return { value, tokens: estimateTokens(text) };
}

/** Cuts a text into pieces of at most `size` characters, never inside a character. */
function pieces(text: string, size: number): string[] {
  const characters = [...text];
  const count = Math.ceil(characters.length / size);
  return Array.from({ length: count }, (_, index) => characters.slice(index * size, (index + 1) * size).join(""));
}
