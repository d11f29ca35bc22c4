/** The JSON of a checkpoint's state, and whether something is that. Fields it does not know pass through. */
import type { AgentConfig, ToolSetting, Toolset } from "./agent-config.ts";
import type { Acting, Asking, Resting } from "./state.ts";

/** A toolset without maps. */
export type SavedToolset = Omit<Toolset, "exceptions"> & {
  readonly exceptions: readonly (readonly [string, ToolSetting])[];
};

/** An agent without maps. */
export type SavedAgent = Omit<AgentConfig, "mcp" | "toolset"> & {
  readonly toolset?: SavedToolset;
  readonly mcp: readonly (readonly [string, SavedToolset])[];
};

type Saved<T> = T extends unknown ? Omit<T, "agent"> & { readonly agent: SavedAgent } : never;

/** A living state without maps. */
export type SavedState = Saved<Resting> | Saved<Asking> | Saved<Acting>;

type Check = (value: unknown) => boolean;

const text: Check = (value) => typeof value === "string";
const flag: Check = (value) => typeof value === "boolean";
const count: Check = (value) => typeof value === "number" && Number.isFinite(value) && value >= 0;
const object: Check = (value) => isRecord(value);
const oneOf =
  (...values: readonly unknown[]): Check =>
  (value) =>
    values.includes(value);
const list =
  (item: Check): Check =>
  (value) =>
    Array.isArray(value) && value.every(item);
const pair =
  (second: Check): Check =>
  (value) =>
    Array.isArray(value) && value.length === 2 && text(value[0]) && second(value[1]);
const maybe =
  (check: Check): Check =>
  (value) =>
    value === undefined || check(value);
const mapOf =
  (value: Check): Check =>
  (found) =>
    isRecord(found) && Object.values(found).every(value);
const fields =
  (checks: Readonly<Record<string, Check>>): Check =>
  (value) =>
    isRecord(value) && Object.entries(checks).every(([name, check]) => check(value[name]));

const setting = { enabled: flag, policy: oneOf("always_allow", "always_ask", "auto") };
const toolset = fields({ ...setting, exceptions: list(pair(fields(setting))) });
const agent = fields({
  model: text,
  effort: maybe(text),
  system: text,
  toolset: maybe(toolset),
  mcp: list(pair(toolset)),
  custom: list(fields({ name: text, description: text, inputSchema: object })),
  context: fields({ type: oneOf("full", "window", "clear_tool_results", "compaction", "reset"), recall: flag }),
});

const usage = fields({
  input_tokens: count,
  output_tokens: count,
  cache_read_input_tokens: count,
  cache_creation_input_tokens: count,
});

const progresses: Readonly<Record<string, Check>> = {
  waiting: fields({ for: oneOf("confirmation", "client", "worker") }),
  ready: object,
  denied: fields({ message: maybe(text) }),
  dispatched: fields({ handId: text, epoch: count, attempt: count }),
  leftBehind: fields({ handId: text }),
  answered: object,
};
const progress: Check = (value) => isRecord(value) && check(progresses, value.at, value);
const call = fields({
  id: text,
  kind: oneOf("agent", "mcp", "custom"),
  name: text,
  server: maybe(text),
  input: object,
  ordinal: count,
  progress,
});

const living = fields({
  head: count,
  epoch: count,
  harnessKind: text,
  agent,
  environment: object,
  resources: list(object),
  hand: maybe(fields({ id: text, generation: count, isStale: maybe(flag) })),
  handsMade: count,
  filesAfter: maybe(list(text)),
  inbox: list(count),
  interrupted: flag,
  status: oneOf("idle", "running", "rescheduling"),
  saidRunning: flag,
  announced: list(text),
  runningSince: count,
  activeMs: count,
  settings: mapOf(text),
  budget: maybe(fields({ maxTokens: maybe(count), maxCents: maybe(count) })),
  usage,
  usageByModel: mapOf(usage),
  window: fields({ tokens: count, overflows: count, compactions: count, cutPoints: list(count) }),
  iterations: count,
  toolCalls: count,
  wakes: count,
});

const phases: Readonly<Record<string, Check>> = {
  resting: fields({ lastStop: oneOf("", "end_turn", "max_tokens", "refusal") }),
  asking: fields({
    request: maybe(fields({ id: text, epoch: count, model: text, contextPosition: count, purpose: maybe(text) })),
    failures: count,
    retryAtMs: count,
    exhausted: flag,
    calls: list(call),
  }),
  acting: fields({ calls: list(call) }),
};

/** True when every field that deciding needs is there and of its kind. */
export function isSavedState(value: unknown): value is SavedState {
  return isRecord(value) && living(value) && check(phases, value.phase, value);
}

function check(checks: Readonly<Record<string, Check>>, name: unknown, value: unknown): boolean {
  return typeof name === "string" && Object.hasOwn(checks, name) && checks[name]?.(value) === true;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
