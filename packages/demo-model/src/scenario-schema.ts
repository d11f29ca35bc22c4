import { z } from "zod";
import { API_ERROR_TYPES, typeOfStatus } from "./api-error.ts";

/** Longest wait a scenario may ask for, in milliseconds. */
const MAX_WAIT_MS = 600_000;
/** Most times a `repeat` step runs. */
export const MAX_REPEAT = 500;

const waitMs = z.int().min(0).max(MAX_WAIT_MS);

/** Every pattern ignores case and lets `^` and `$` match at line ends. */
const pattern = z
  .string()
  .min(1)
  .transform((source, context): RegExp => {
    try {
      return new RegExp(source, "im");
    } catch (error) {
      context.addIssue({ code: "custom", message: error instanceof Error ? error.message : String(error) });
      return z.NEVER;
    }
  });

const label = z.string().regex(/^[a-z][a-z0-9-]*$/, "a label is lower-case words joined by dashes");

const when = z
  .strictObject({
    tool_result_matches: pattern.optional(),
    tool_result_lacks: pattern.optional(),
    is_error: z.boolean().optional(),
    tool: z.string().min(1).optional(),
    user_text_matches: pattern.optional(),
  })
  .refine((value) => Object.values(value).some((part) => part !== undefined), "at least one condition is required");

const rule = z.strictObject({
  when,
  goto: label,
  advance: z.boolean().default(false),
  limit: z.int().min(1).max(1000).default(10),
});

const faultTiming = { times: z.int().min(1).max(1000).optional(), key_header: z.string().toLowerCase().optional() };

const statusFault = z
  .strictObject({
    kind: z.literal("status"),
    status: z.int().min(400).max(599),
    type: z.enum(API_ERROR_TYPES as [string, ...string[]]).optional(),
    message: z.string().min(1).optional(),
    retry_after_s: z.number().min(0).max(3600).optional(),
    ...faultTiming,
  })
  .transform((value) => ({ ...value, type: value.type ?? typeOfStatus(value.status) }));

const streamFault = z.strictObject({
  kind: z.literal("stream_error"),
  type: z.enum(API_ERROR_TYPES as [string, ...string[]]).default("overloaded_error"),
  message: z.string().min(1).optional(),
  after_bytes: z.int().min(0).default(0),
  ...faultTiming,
});

const byteFault = z.strictObject({
  kind: z.enum(["cut", "hang", "malformed"]),
  after_bytes: z.int().min(0).default(0),
  ...faultTiming,
});

/** A failure the server plays. `kind` is `status` when left out. */
export const faultSchema = z.preprocess(
  (value) => (typeof value === "object" && value !== null && !("kind" in value) ? { kind: "status", ...value } : value),
  z.discriminatedUnion("kind", [statusFault, streamFault, byteFault]),
);

const emitted = z.union(
  [
    z.strictObject({ thinking: z.string().min(1) }),
    z.strictObject({ text: z.string().min(1) }),
    z.strictObject({
      tool_use: z.strictObject({
        name: z.string().min(1),
        input: z.record(z.string(), z.unknown()).default({}),
        allow_unknown: z.boolean().default(false),
        raw_input: z.string().optional(),
        id: z.string().min(1).optional(),
      }),
    }),
  ],
  "a block is one of {thinking: text}, {text: text} or {tool_use: {name, input}}",
);

const paceFields = {
  delay_ms: waitMs.optional(),
  first_token_ms: waitMs.optional(),
  tokens_per_second: z.number().min(0.1).max(100_000).optional(),
  chunk_chars: z.int().min(1).max(10_000).optional(),
};

const step = z
  .strictObject({
    label: label.optional(),
    repeat: z.union([z.int().min(1).max(MAX_REPEAT), z.string().min(1)]).optional(),
    emit: z.array(emitted).default([]),
    error: faultSchema.optional(),
    stop_reason: z.enum(["refusal", "pause_turn", "max_tokens"]).optional(),
    capture: z.record(z.string().regex(/^[a-z_]+$/), pattern).default({}),
    rules: z.array(rule).max(50).default([]),
    next: label.optional(),
    ...paceFields,
  })
  .refine((value) => value.emit.length > 0 || (value.error !== undefined && value.error.times === undefined), {
    path: ["emit"],
    message: "a step emits at least one block, unless its error is for ever (no `times`)",
  });

const match = z
  .strictObject({
    default: z.literal(true).optional(),
    last_user_text: pattern.optional(),
    first_user_text: pattern.optional(),
    system: pattern.optional(),
  })
  .refine((value) => {
    const hasPattern = (value.last_user_text ?? value.first_user_text ?? value.system) !== undefined;
    return hasPattern !== (value.default === true);
  }, "either `default: true` or at least one of last_user_text, first_user_text, system");

/** One scenario as written in a file; see README.md for what each field means. */
export const scenarioSchema = z.strictObject({
  name: z.string().regex(/^[a-z][a-z0-9-]*$/, "a name is lower-case words joined by dashes"),
  description: z.string().min(1).optional(),
  match,
  priority: z.int().min(-1000).max(1000).default(0),
  rules: z.array(rule).max(50).default([]),
  steps: z.array(step).min(1).max(200),
  ...paceFields,
});

/** A parsed scenario. */
export type Scenario = z.output<typeof scenarioSchema>;
/** A scenario as a test writes it in code: the shape of the file. */
export type ScenarioInput = z.input<typeof scenarioSchema>;
/** One step of a {@link Scenario}: one response of the model. */
export type Step = Scenario["steps"][number];
/** A conditional jump, checked against the tool results that answer a step. */
export type Rule = Scenario["rules"][number];
/** A failure the server plays instead of, or in the middle of, a response. */
export type Fault = z.output<typeof faultSchema>;
