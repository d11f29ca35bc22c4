/**
 * Budgets: what a session may use in all. Looked at before each model request, so that one is never begun beyond it; the
 * request that crosses the bound is the last. The public form is `{type: "limit", max_list_cost: {amount, currency}}`
 * with US cents as a string; `max_tokens` is ours.
 */
import { objectOf, stringOf } from "./agent-config.ts";
import type { Json, ModelUsage } from "./events.ts";

/** A parsed budget. */
export interface Budget {
  /** Input, output and cache tokens together. */
  readonly maxTokens?: number;
  /** US cents at list price. */
  readonly maxCents?: number;
}

/** US dollars per million tokens. */
export interface ModelPrice {
  readonly input: number;
  readonly output: number;
  readonly cache_read: number;
  readonly cache_write: number;
}

/** Prices by model name. */
export type PriceTable = Readonly<Record<string, ModelPrice>>;

const priceKinds = ["input", "output", "cache_read", "cache_write"] as const satisfies readonly (keyof ModelPrice)[];

/** Reads `{model: {input, output, cache_read, cache_write}}`; throws TypeError that names the field and the rule. */
export function readPriceTable(value: Json): PriceTable {
  const table = Object.entries(objectOf(value)).map(([model, given]): [string, ModelPrice] => {
    const price = objectOf(given);
    const kind = priceKinds.find((one) => typeof price[one] !== "number" || price[one] < 0);
    if (kind !== undefined) throw new TypeError(`${model}.${kind} must be a number from 0`);
    const [input = 0, output = 0, cache_read = 0, cache_write = 0] = priceKinds.map((one) => Number(price[one]));
    return [model, { input, output, cache_read, cache_write }];
  });
  return Object.fromEntries(table);
}

/** Where a session stands against its budget. `unpriced` names a model whose cost nobody can tell. */
export type BudgetState =
  | { readonly type: "within" }
  | { readonly type: "reached" }
  | { readonly type: "unpriced"; readonly model: string };

/** The budget of a stored session; undefined when there is none, or none that can be read. */
export function parseBudget(value: Json | undefined): Budget | undefined {
  const budget = objectOf(value);
  const tokens = budget.max_tokens;
  const cost = objectOf(budget.max_list_cost);
  const cents = Number.parseInt(stringOf(cost.amount), 10);
  const maxTokens = typeof tokens === "number" && tokens > 0 ? tokens : undefined;
  const maxCents = Number.isFinite(cents) && cents > 0 ? cents : undefined;
  if (maxTokens === undefined && maxCents === undefined) return undefined;
  return {
    ...(maxTokens === undefined ? {} : { maxTokens }),
    ...(maxCents === undefined ? {} : { maxCents }),
  };
}

/** Whether a session with this usage may ask `model` once more. */
export function budgetState(
  budget: Budget | undefined,
  usageByModel: Readonly<Record<string, ModelUsage>>,
  model: string,
  prices: PriceTable,
): BudgetState {
  if (budget === undefined) return { type: "within" };
  const { maxTokens, maxCents } = budget;
  const tokens = Object.values(usageByModel).reduce((sum, usage) => sum + tokensOf(usage), 0);
  if (maxTokens !== undefined && tokens >= maxTokens) return { type: "reached" };
  if (maxCents === undefined) return { type: "within" };
  const unpriced = [...Object.keys(usageByModel), model].find((name) => prices[name] === undefined);
  if (unpriced !== undefined) return { type: "unpriced", model: unpriced };
  return listCostCents(usageByModel, prices) >= maxCents ? { type: "reached" } : { type: "within" };
}

/** What the usage costs at list price, in US cents; models without a price count as nothing. */
export function listCostCents(usageByModel: Readonly<Record<string, ModelUsage>>, prices: PriceTable): number {
  let dollars = 0;
  for (const [model, usage] of Object.entries(usageByModel)) {
    const price = prices[model];
    if (price === undefined) continue;
    dollars +=
      (usage.input_tokens * price.input +
        usage.output_tokens * price.output +
        usage.cache_read_input_tokens * price.cache_read +
        usage.cache_creation_input_tokens * price.cache_write) /
      1_000_000;
  }
  return dollars * 100;
}

/** All tokens of a usage. */
export function tokensOf(usage: ModelUsage): number {
  const { input_tokens, output_tokens, cache_read_input_tokens, cache_creation_input_tokens } = usage;
  return input_tokens + output_tokens + cache_read_input_tokens + cache_creation_input_tokens;
}
