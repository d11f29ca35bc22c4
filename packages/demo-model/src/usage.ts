import { blocksOf, type CountRequest } from "./request-schema.ts";
import { digest } from "./signature.ts";

/** Bytes of UTF-8 that count as one token. An estimate: it is stable and monotonic, and no tokenizer. */
const BYTES_PER_TOKEN = 4;
/** Prefixes remembered; the oldest is forgotten first. */
const MAX_PREFIXES = 10_000;
/** How many blocks before a breakpoint are looked at for an older entry, as in the real API. */
const LOOK_BACK_BLOCKS = 20;

/** The tokens of a request, split by what the prompt cache did. */
export type InputUsage = {
  /** Estimated tokens neither read from nor written to the cache. */
  readonly input_tokens: number;
  /** Estimated tokens newly written to the cache. */
  readonly cache_creation_input_tokens: number;
  /** Estimated tokens read from the cache. */
  readonly cache_read_input_tokens: number;
};

type Segment = { readonly bytes: number; readonly hash: string; readonly isBreakpoint: boolean };

/** The estimated number of tokens of a text: one per 4 UTF-8 bytes, rounded up. */
export function estimateTokens(text: string): number {
  return Math.ceil(Buffer.byteLength(text) / BYTES_PER_TOKEN);
}

/** The estimated number of input tokens of a request: tools, system and messages as JSON without cache marks. */
export function estimateInputTokens(request: CountRequest): number {
  return toTokens(segmentsOf(request).at(-1)?.bytes ?? 0);
}

/**
 * The prompt cache. A request reads the longest prefix that ends at, or up to 20 blocks before, one of its
 * `cache_control` breakpoints and that an earlier request marked; it writes what lies between that and its last
 * breakpoint. Entries never expire by time, and there is no minimum length, so that small tests see the cache work.
 */
export class PromptCache {
  readonly #prefixes = new Set<string>();

  /** Counts a request against the cache and remembers its breakpoints. */
  use(request: CountRequest): InputUsage {
    const segments = segmentsOf(request);
    const breakpoints = segments.flatMap((segment, index) => (segment.isBreakpoint ? [index] : []));
    const readUpTo = Math.max(-1, ...breakpoints.map((index) => this.#longestKnown(segments, index)));
    const lastMark = breakpoints.at(-1) ?? -1;
    for (const index of breakpoints) this.#remember(segments[index]?.hash ?? "");
    const total = toTokens(segments.at(-1)?.bytes ?? 0);
    const read = toTokens(segments[readUpTo]?.bytes ?? 0);
    const marked = toTokens(segments[lastMark]?.bytes ?? 0);
    return {
      input_tokens: total - Math.max(marked, read),
      cache_creation_input_tokens: Math.max(0, marked - read),
      cache_read_input_tokens: read,
    };
  }

  #longestKnown(segments: readonly Segment[], from: number): number {
    for (let index = from; index >= Math.max(0, from - LOOK_BACK_BLOCKS); index -= 1) {
      if (this.#prefixes.has(segments[index]?.hash ?? "")) return index;
    }
    return -1;
  }

  #remember(hash: string): void {
    this.#prefixes.delete(hash);
    this.#prefixes.add(hash);
    const oldest = this.#prefixes.values().next();
    if (this.#prefixes.size > MAX_PREFIXES && !oldest.done) this.#prefixes.delete(oldest.value);
  }
}

/** The request as the cache sees it: tools, then system, then messages; each segment ends a prefix. */
function segmentsOf(request: CountRequest): Segment[] {
  const system = typeof request.system === "string" ? [{ type: "text", text: request.system }] : (request.system ?? []);
  const parts: [string, object][] = [
    ...(request.tools ?? []).map((tool): [string, object] => ["tool", tool]),
    ...system.map((block): [string, object] => ["system", block]),
    ...request.messages.flatMap((turn) => blocksOf(turn).map((block): [string, object] => [turn.role, block])),
  ];
  const segments: Segment[] = [];
  let hash = request.model;
  let bytes = 0;
  for (const [index, [kind, part]] of parts.entries()) {
    const { cache_control: mark, ...rest } = part as { cache_control?: unknown };
    const text = JSON.stringify(rest);
    hash = digest(`${hash}\n${kind}\n${text}`);
    bytes += Buffer.byteLength(text);
    const isAutomatic = index === parts.length - 1 && Boolean(request.cache_control);
    segments.push({ bytes, hash, isBreakpoint: Boolean(mark) || isAutomatic });
  }
  return segments;
}

function toTokens(bytes: number): number {
  return Math.ceil(bytes / BYTES_PER_TOKEN);
}
