/**
 * Counts the tokens of an answer as it passes, without holding a byte of it back. What cannot be read (compressed, too
 * long, another shape) is not counted; the answer itself is never touched.
 */
import { asObject } from "../mcp/json-rpc.ts";
import { type SseParser, SseTooLong, sseParser } from "../mcp/sse-parser.ts";

/** Tokens as the provider counts them. */
export type ModelTokens = { readonly inputTokens: number; readonly outputTokens: number };

/** Looks at an answer's bytes. */
export type UsageMeter = {
  add(chunk: Buffer): void;
  /** What was counted; undefined when nothing was. */
  result(): ModelTokens | undefined;
};

const MAX_EVENT = 256 * 1024;
const MAX_JSON = 4 * 1024 * 1024;

/** A meter for an answer of this media type. */
export function usageMeter(contentType: string): UsageMeter {
  let inputTokens: number | undefined;
  let outputTokens: number | undefined;
  const note = (usage: unknown) => {
    const found = asObject(usage) ?? {};
    const input = ["input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"].map((name) => found[name]);
    const counts = input.filter((value) => typeof value === "number");
    if (typeof found.input_tokens === "number") inputTokens = counts.reduce((sum, value) => sum + value, 0);
    if (typeof found.output_tokens === "number") outputTokens = found.output_tokens;
  };
  const look = (text: string) => {
    if (!text.includes('"usage"')) return;
    const json = asObject(parse(text)) ?? {};
    note(json.usage);
    note(asObject(json.message)?.usage);
  };
  const isStream = contentType.includes("text/event-stream");
  const decoder = new TextDecoder();
  let parser: SseParser | undefined = sseParser(MAX_EVENT);
  let text = "";
  return {
    add(chunk) {
      const piece = decoder.decode(chunk, { stream: true });
      if (!isStream) {
        if (text.length <= MAX_JSON) text += piece;
        return;
      }
      try {
        for (const { data } of parser?.(piece) ?? []) look(data);
      } catch (error) {
        if (!(error instanceof SseTooLong)) throw error;
        parser = undefined;
      }
    },
    result() {
      if (!isStream && text.length <= MAX_JSON) look(text);
      if (inputTokens === undefined && outputTokens === undefined) return undefined;
      return { inputTokens: inputTokens ?? 0, outputTokens: outputTokens ?? 0 };
    },
  };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
