/**
 * Limits of a turn, as data: `decide` gets them passed in, so that the same log and the same limits always give the
 * same action (invariant H6).
 */
import type { PriceTable } from "./budget.ts";

/** Every bound of a turn and of a session. */
export interface Limits {
  /** Model requests in one turn, failed ones not counted. */
  readonly iterationsPerTurn: number;
  /** Tool uses in one turn; those beyond it get an error result instead of a run. */
  readonly toolCallsPerTurn: number;
  /** Operations in flight at the same time in one session. */
  readonly parallelTools: number;
  /** Tool uses kept of one model response; one frame holds 64 events. */
  readonly toolUsesPerResponse: number;
  /** Bytes of one tool result that the model is shown. */
  readonly outputBytes: number;
  /** Longest run of one operation, in milliseconds, asked of the hand. */
  readonly operationTimeoutMs: number;
  /** How often one operation may be sent under its id; more than once only where not-started was proved. */
  readonly operationAttempts: number;
  /** Failed tries of one model request before the turn ends. */
  readonly modelAttempts: number;
  /** First pause between two tries of a model request, in milliseconds; doubles each time. */
  readonly modelBackoffMs: number;
  /** Longest pause between two tries, in milliseconds, also when the provider asks for more. */
  readonly modelBackoffMaxMs: number;
  /** Longest time a turn may run before a model request is refused, in milliseconds; waiting for the client is free. */
  readonly turnMs: number;
  /** List prices that cost budgets are held against; a cost budget for a model without one stops before its request. */
  readonly prices: PriceTable;
  /** Tokens one model response may have. */
  readonly maxOutputTokens: number;
  /**
   * How often brains may take a session, and not hand it back, without any progress before the turn ends: a session that
   * kills its brains.
   */
  readonly wakesWithoutProgress: number;
}

/** The limits that are plain numbers. */
export type NumericLimit = Exclude<keyof Limits, "prices">;

/** What applies unless the configuration says otherwise. */
export const defaultLimits: Limits = {
  iterationsPerTurn: 200,
  toolCallsPerTurn: 1_000,
  parallelTools: 8,
  toolUsesPerResponse: 48,
  outputBytes: 100 * 1024,
  operationTimeoutMs: 10 * 60_000,
  operationAttempts: 3,
  modelAttempts: 6,
  modelBackoffMs: 500,
  modelBackoffMaxMs: 60_000,
  turnMs: 24 * 3_600_000,
  prices: {},
  maxOutputTokens: 32_000,
  wakesWithoutProgress: 25,
};

/**
 * Pause before the next try after `attempt` failed ones (1 for the first), in milliseconds. `retryAfterMs` is what the
 * provider asked for; it wins over the doubling, but not over the maximum.
 */
export function modelBackoffMs(limits: Limits, attempt: number, retryAfterMs?: number): number {
  const doubled = limits.modelBackoffMs * 2 ** Math.min(attempt - 1, 30);
  return Math.min(limits.modelBackoffMaxMs, Math.max(doubled, retryAfterMs ?? 0));
}
