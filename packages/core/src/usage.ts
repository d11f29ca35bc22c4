import type { ModelUsage } from "./events.ts";

/** The usages by model, one model's increased. */
export function addUsageOf(
  sums: Readonly<Record<string, ModelUsage>>,
  model: string,
  usage: ModelUsage | undefined,
): Readonly<Record<string, ModelUsage>> {
  const none = { input_tokens: 0, output_tokens: 0, cache_read_input_tokens: 0, cache_creation_input_tokens: 0 };
  return { ...sums, [model]: addUsage(sums[model] ?? none, usage) };
}

/** The sum of two usages; a missing one counts as nothing. */
export function addUsage(sum: ModelUsage, usage: ModelUsage | undefined): ModelUsage {
  if (usage === undefined) return sum;
  return {
    input_tokens: sum.input_tokens + usage.input_tokens,
    output_tokens: sum.output_tokens + usage.output_tokens,
    cache_read_input_tokens: sum.cache_read_input_tokens + usage.cache_read_input_tokens,
    cache_creation_input_tokens: sum.cache_creation_input_tokens + usage.cache_creation_input_tokens,
  };
}
