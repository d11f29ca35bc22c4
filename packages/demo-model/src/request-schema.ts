import { z } from "zod";
import { ApiError } from "./api-error.ts";

/**
 * The shape of a Messages API request, as far as this server needs it. Unknown top-level fields are refused as the
 * real API does; unknown fields inside blocks are kept, because they must survive into the hash of the request.
 */
const cacheControl = z.looseObject({ type: z.literal("ephemeral"), ttl: z.enum(["5m", "1h"]).optional() }).nullish();

const textBlock = z.looseObject({ type: z.literal("text"), text: z.string(), cache_control: cacheControl });
const imageBlock = z.looseObject({ type: z.literal("image"), cache_control: cacheControl });
const documentBlock = z.looseObject({ type: z.literal("document"), cache_control: cacheControl });
const toolUseBlock = z.looseObject({
  type: z.literal("tool_use"),
  id: z.string().regex(/^[a-zA-Z0-9_-]+$/, "String should match pattern '^[a-zA-Z0-9_-]+$'"),
  name: z.string().min(1).max(200),
  input: z.record(z.string(), z.unknown(), "Input should be a valid dictionary"),
  cache_control: cacheControl,
});
const toolResultBlock = z.looseObject({
  type: z.literal("tool_result"),
  tool_use_id: z.string(),
  content: z.union([z.string(), z.array(z.looseObject({ type: z.string() }))]).optional(),
  is_error: z.boolean().nullish(),
  cache_control: cacheControl,
});
const thinkingBlock = z.looseObject({ type: z.literal("thinking"), thinking: z.string(), signature: z.string() });
const redactedThinkingBlock = z.looseObject({ type: z.literal("redacted_thinking"), data: z.string() });

const contentBlock = z.discriminatedUnion("type", [
  textBlock,
  imageBlock,
  documentBlock,
  toolUseBlock,
  toolResultBlock,
  thinkingBlock,
  redactedThinkingBlock,
]);

const message = z.strictObject({
  role: z.enum(["user", "assistant", "system"]),
  content: z.union([z.string(), z.array(contentBlock)]),
});

const tool = z.looseObject({
  name: z.string().regex(/^[a-zA-Z0-9_-]{1,128}$/, "String should match pattern '^[a-zA-Z0-9_-]{1,128}$'"),
  type: z.string().nullish(),
  description: z.string().optional(),
  input_schema: z.looseObject({ type: z.literal("object") }).optional(),
  cache_control: cacheControl,
});

const thinking = z.discriminatedUnion("type", [
  z.looseObject({ type: z.literal("enabled"), budget_tokens: z.int().min(1024), display: z.string().nullish() }),
  z.looseObject({ type: z.literal("adaptive"), display: z.string().nullish() }),
  z.looseObject({ type: z.literal("disabled") }),
]);

const toolChoice = z.looseObject({ type: z.enum(["auto", "any", "tool", "none"]), name: z.string().optional() });

/** Accepted and not interpreted: features this server has no use for, but a correct client may send. */
const IGNORED_FIELDS = [
  "billing_policy",
  "compaction",
  "container",
  "context_management",
  "diagnostics",
  "fallback_credit_token",
  "fallbacks",
  "inference_geo",
  "mcp_servers",
  "metadata",
  "output_config",
  "output_format",
  "service_tier",
  "speed",
  "temperature",
  "thread",
  "top_k",
  "top_p",
  "user_profile_id",
  "workspace_id",
] as const;

const countFields = {
  model: z.string().min(1),
  messages: z.array(message),
  system: z.union([z.string(), z.array(textBlock)]).optional(),
  tools: z.array(tool).optional(),
  tool_choice: toolChoice.optional(),
  thinking: thinking.optional(),
  cache_control: cacheControl,
  ...Object.fromEntries(IGNORED_FIELDS.map((name) => [name, z.unknown().optional()])),
};

const countRequest = z.strictObject(countFields);
const createRequest = z.strictObject({
  ...countFields,
  max_tokens: z.int().min(1),
  stop_sequences: z.array(z.string()).optional(),
  stream: z.boolean().optional(),
});

/** One content block of a request. */
export type ContentBlock = z.infer<typeof contentBlock>;
/** One turn of a request. */
export type Message = z.infer<typeof message>;
/** One tool definition of a request. */
export type ToolDefinition = z.infer<typeof tool>;
/** A request to `POST /v1/messages/count_tokens`. */
export type CountRequest = z.infer<typeof countRequest>;
/** A request to `POST /v1/messages`. */
export type CreateRequest = z.infer<typeof createRequest>;

/** Parses the body of `POST /v1/messages`; throws a 400 {@link ApiError} that names the field. */
export function parseCreateRequest(body: unknown): CreateRequest {
  return parse(createRequest, body);
}

/** Parses the body of `POST /v1/messages/count_tokens`; throws a 400 {@link ApiError} that names the field. */
export function parseCountRequest(body: unknown): CountRequest {
  return parse(countRequest, body);
}

/** The blocks of a turn; a plain string is one text block. */
export function blocksOf(turn: Message): readonly ContentBlock[] {
  return typeof turn.content === "string" ? [{ type: "text", text: turn.content }] : turn.content;
}

function parse<T>(schema: z.ZodType<T>, body: unknown): T {
  const result = schema.safeParse(body);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw ApiError.invalid(issue === undefined ? "invalid request" : describe(issue, body));
}

/** Writes the first problem in the words of the real API: `messages.0.content: Field required`. */
function describe(issue: z.core.$ZodIssue, body: unknown): string {
  const path = issue.path.map(String);
  if (issue.code === "unrecognized_keys") {
    return `${[...path, issue.keys[0] ?? ""].join(".")}: Extra inputs are not permitted`;
  }
  if (issue.code === "invalid_union") return describeUnion(issue, body, path);
  const where = path.length === 0 ? "" : `${path.join(".")}: `;
  return where + (valueAt(body, issue.path) === undefined ? "Field required" : issue.message);
}

/** Follows the branch of a union that got furthest into the input: that is the one the client meant. */
function describeUnion(issue: z.core.$ZodIssueInvalidUnion, body: unknown, path: string[]): string {
  if (issue.discriminator !== undefined && issue.errors.length === 0) {
    return `${path.join(".")}: Input tag found using '${issue.discriminator}' does not match any of the expected tags`;
  }
  const inner = issue.errors.flat().toSorted((a, b) => b.path.length - a.path.length)[0];
  if (inner === undefined || inner.path.length === 0) return `${path.join(".")}: ${inner?.message ?? issue.message}`;
  return describe({ ...inner, path: [...issue.path, ...inner.path] }, body);
}

function valueAt(body: unknown, path: readonly PropertyKey[]): unknown {
  let value: unknown = body;
  for (const key of path) {
    if (typeof value !== "object" || value === null) return undefined;
    value = (value as Record<PropertyKey, unknown>)[key];
  }
  return value;
}
