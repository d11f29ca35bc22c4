/**
 * Which of several keys is tried, in which order: as listed, those that a provider refused or throttled a moment ago
 * last. Nothing is ever given up on: with every key in trouble, the one whose pause ends first goes first.
 */
import type { Clock } from "@manyhands/kit";
import type { ModelKey } from "../store/model-key-store.ts";

/** Remembers how keys fared. */
export type KeyRing = {
  /** The keys in the order in which to try them. */
  order(keys: readonly ModelKey[]): readonly ModelKey[];
  /** True for an answer after which another key may do better; then the key rests. */
  hasFailed(key: ModelKey, status: number, retryAfter: string | undefined): boolean;
};

/** How long a key rests, in milliseconds. */
export const REST_MS = { refused: 300_000, throttled: 15_000, longest: 300_000 } as const;
const MAX_REMEMBERED = 4096;

/** A ring for this process. */
export function keyRing(clock: Pick<Clock, "nowMs">): KeyRing {
  const restingUntilMs = new Map<string, number>();
  return {
    order(keys) {
      const nowMs = clock.nowMs();
      const restOf = ({ id }: ModelKey) => Math.max(0, (restingUntilMs.get(id) ?? 0) - nowMs);
      return keys.toSorted((a, b) => restOf(a) - restOf(b));
    },
    hasFailed({ id }, status, retryAfter) {
      const restMs = restOf(status, retryAfter);
      if (restMs === 0) {
        restingUntilMs.delete(id);
        return false;
      }
      if (restingUntilMs.size >= MAX_REMEMBERED) restingUntilMs.clear();
      restingUntilMs.set(id, clock.nowMs() + restMs);
      return true;
    },
  };
}

function restOf(status: number, retryAfter: string | undefined): number {
  if (status === 401 || status === 403) return REST_MS.refused;
  if (status !== 429) return 0;
  const seconds = Number(retryAfter);
  const asked = Number.isFinite(seconds) && seconds > 0 ? seconds * 1000 : REST_MS.throttled;
  return Math.min(asked, REST_MS.longest);
}
