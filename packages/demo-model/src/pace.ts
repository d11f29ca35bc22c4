import { setTimeout as sleep } from "node:timers/promises";
import type { Scenario, Step } from "./scenario-schema.ts";

/** How fast a response is given. */
export type Pace = {
  /** Wait before the response's headers, in milliseconds. */
  readonly delayMs: number;
  /** Wait after `message_start` and before the first block, in milliseconds. */
  readonly firstTokenMs: number;
  /** Estimated tokens per second; undefined is as fast as the connection takes them. */
  readonly tokensPerSecond: number | undefined;
  /** Characters per delta; undefined is the default of the stream. */
  readonly chunkChars: number | undefined;
};

/** The pace of a step: its own fields, else its scenario's, else the server's speed and no waits. */
export function paceOf(scenario: Scenario, step: Step | undefined, tokensPerSecond?: number): Pace {
  return {
    delayMs: step?.delay_ms ?? scenario.delay_ms ?? 0,
    firstTokenMs: step?.first_token_ms ?? scenario.first_token_ms ?? 0,
    tokensPerSecond: step?.tokens_per_second ?? scenario.tokens_per_second ?? tokensPerSecond,
    chunkChars: step?.chunk_chars ?? scenario.chunk_chars,
  };
}

/** The time a number of tokens takes, in milliseconds. */
export function tokensMs(pace: Pace, tokens: number): number {
  return pace.tokensPerSecond === undefined ? 0 : (tokens * 1000) / pace.tokensPerSecond;
}

/** Waits, or rejects as soon as the signal fires. No wait at all for less than half a millisecond. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  if (ms >= 0.5) await sleep(ms, undefined, { signal });
}
