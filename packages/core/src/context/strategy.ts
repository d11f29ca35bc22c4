/**
 * Which part of its log a session's model is shown. Chosen by the session's metadata, because the public API has no
 * field for it: `manyhands.context` holds the name of a strategy, or a JSON object with its options. A session takes
 * over what its agent's metadata says; a change of the session's metadata holds from the next model request on.
 *
 * The log itself never changes: a strategy only chooses what a request is built from.
 */
import type { Json, JsonObject } from "../events.ts";

/** Metadata key that holds the strategy. */
export const contextSetting = "manyhands.context";

/** A strategy with its options. `recall` offers the model a tool to query its own log. */
export type ContextStrategy =
  /** Everything, always; a conversation that no longer fits ends its turn with an error. */
  | { readonly type: "full"; readonly recall: boolean }
  /** The newest model responses: at least `keep_requests`, at most half as many more. */
  | { readonly type: "window"; readonly keep_requests: number; readonly recall: boolean }
  /** Everything, but tool results older than the newest `keep_results` (to twice as many) are emptied. */
  | { readonly type: "clear_tool_results"; readonly keep_results: number; readonly recall: boolean }
  /**
   * Once a request had more than `trigger_tokens`, the model summarises all but its newest `keep_requests` responses;
   * 0 tokens means only when the provider refuses the conversation for its length.
   */
  | {
      readonly type: "compaction";
      readonly trigger_tokens: number;
      readonly keep_requests: number;
      readonly recall: boolean;
    }
  /** Only the present turn: each one begins with an empty context. */
  | { readonly type: "reset"; readonly recall: boolean };

/** Everything while it fits; then a summary. What a session gets that names no strategy. */
export const defaultContext: ContextStrategy = {
  type: "compaction",
  trigger_tokens: 0,
  keep_requests: 4,
  recall: false,
};

interface Option {
  readonly fallback: number;
  readonly min: number;
  readonly max: number;
}

const optionsOf: Readonly<Record<ContextStrategy["type"], Readonly<Record<string, Option>>>> = {
  full: {},
  window: { keep_requests: { fallback: 40, min: 1, max: 10_000 } },
  clear_tool_results: { keep_results: { fallback: 20, min: 1, max: 10_000 } },
  compaction: {
    trigger_tokens: { fallback: 120_000, min: 0, max: 100_000_000 },
    keep_requests: { fallback: 4, min: 1, max: 50 },
  },
  reset: {},
};

const names = Object.keys(optionsOf);

/** Reads a strategy's text; `problem` names the field and the rule when it is none. */
export function readContextStrategy(text: string): { strategy: ContextStrategy } | { problem: string } {
  const given = objectIn(text);
  if (given === undefined) return { problem: "must be the name of a strategy or a JSON object" };
  const { type, recall, ...rest } = given;
  if (!isStrategyName(type)) return { problem: `type must be one of ${names.join(", ")}` };
  if (recall !== undefined && typeof recall !== "boolean") return { problem: "recall must be true or false" };
  const options = optionsOf[type];
  const unknown = Object.keys(rest).find((key) => options[key] === undefined);
  if (unknown !== undefined) return { problem: `${unknown} is no option of ${type}` };
  const values: Record<string, number> = {};
  for (const [key, { fallback, min, max }] of Object.entries(options)) {
    const value = rest[key] ?? fallback;
    if (typeof value !== "number" || !Number.isInteger(value) || value < min || value > max) {
      return { problem: `${key} must be a whole number from ${min} to ${max}` };
    }
    values[key] = value;
  }
  // Every option of the type is in `values`, which TypeScript cannot see through the table.
  return { strategy: { type, ...values, recall: recall ?? type !== "full" } as ContextStrategy };
}

/** The strategy of a session with these settings; what cannot be read counts as not set: a stored session must fold. */
export function contextOf(settings: Readonly<Record<string, string>>): ContextStrategy {
  const text = settings[contextSetting];
  if (text === undefined || text === "") return defaultContext;
  const read = readContextStrategy(text);
  return "strategy" in read ? read.strategy : defaultContext;
}

function objectIn(text: string): JsonObject | undefined {
  if (/^[a-z_]+$/.test(text)) return { type: text };
  try {
    const parsed: Json = JSON.parse(text);
    return typeof parsed === "object" && parsed !== null && !Array.isArray(parsed) ? parsed : undefined;
  } catch {
    return undefined;
  }
}

function isStrategyName(value: Json | undefined): value is ContextStrategy["type"] {
  return typeof value === "string" && names.includes(value);
}
