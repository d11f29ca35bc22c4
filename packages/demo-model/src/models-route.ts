import { ApiError } from "./api-error.ts";

/** The models this server lists. Any model name is accepted in a request: the scenario decides the answer. */
const MODELS = [
  ["claude-demo", "Manyhands demo model"],
  ["claude-opus-4-6", "Claude Opus 4.6 (played by the demo model)"],
  ["claude-sonnet-4-6", "Claude Sonnet 4.6 (played by the demo model)"],
  ["claude-haiku-4-5", "Claude Haiku 4.5 (played by the demo model)"],
] as const;

const CREATED_AT = "2026-01-01T00:00:00Z";

/** Answers `GET /v1/models`: one page, cut by `limit` and continued by `after_id`. */
export function listModels(query: URLSearchParams): object {
  const after = query.get("after_id");
  const start = after === null ? 0 : MODELS.findIndex(([id]) => id === after) + 1;
  const limit = Number(query.get("limit") ?? 20);
  if (!Number.isInteger(limit) || limit < 1 || limit > 1000) {
    throw ApiError.invalid("limit: Input should be an integer from 1 to 1000");
  }
  const page = MODELS.slice(start, start + limit).map(toModel);
  return {
    data: page,
    has_more: start + limit < MODELS.length,
    first_id: page[0]?.id ?? null,
    last_id: page.at(-1)?.id ?? null,
  };
}

/** Answers `GET /v1/models/{id}`; a 404 {@link ApiError} for a model that is not listed. */
export function getModel(id: string): object {
  const found = MODELS.find(([known]) => known === id);
  if (found === undefined) throw new ApiError("not_found_error", `model: ${id}`);
  return toModel(found);
}

function toModel([id, displayName]: (typeof MODELS)[number]) {
  return {
    type: "model",
    id,
    display_name: displayName,
    created_at: CREATED_AT,
    capabilities: null,
    deprecated_at: null,
    lifecycle: "active",
    line: null,
    max_input_tokens: 200_000,
    max_tokens: 64_000,
    retires_at: null,
  };
}
