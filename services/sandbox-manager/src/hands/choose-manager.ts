/** Which manager makes a new hand: pure, from what all of them said last. */
import type { ManagerEntry } from "./manager-registry.ts";

/** What a new hand asks of its manager. */
export type Demand = { readonly driver: string; readonly labels: Readonly<Record<string, string>> };

/** An entry older than this is of a manager that is gone or cut off. */
export const ENTRY_MAX_AGE_MS = 15_000;
/** A hand goes elsewhere only where that evens something out: passing calls on is not free. */
const WORTH_MOVING = 0.25;
const MAX_CANDIDATES = 4;

/** Why a manager cannot make it, in words; undefined when it can. */
export function unfit(entry: ManagerEntry, { driver, labels }: Demand): string | undefined {
  if (driver !== "" && !entry.drivers.includes(driver)) return `it has no driver ${driver}`;
  const missing = Object.entries(labels).find(([name, value]) => entry.labels[name] !== value);
  return missing && `it is not labelled ${missing.join("=")}`;
}

/** The managers besides this one that lived lately. */
export function otherManagers(self: ManagerEntry, all: readonly ManagerEntry[], nowMs: number): ManagerEntry[] {
  // An entry with our own address is of our predecessor: asking it would be asking ourselves.
  return all.filter(
    (entry) =>
      entry.managerId !== self.managerId &&
      entry.address !== self.address &&
      Math.abs(nowMs - entry.atMs) < ENTRY_MAX_AGE_MS,
  );
}

/**
 * Who is asked, in this order. This manager comes first where it fits and has room, unless another one is emptier by a
 * quarter of its capacity; a full or unfit manager is not in the list.
 */
export function candidates(
  self: ManagerEntry,
  all: readonly ManagerEntry[],
  demand: Demand,
  nowMs: number,
): readonly ManagerEntry[] {
  const able = [self, ...otherManagers(self, all, nowMs)].filter(
    (entry) => entry.hands < entry.capacity && !unfit(entry, demand),
  );
  const load = (entry: ManagerEntry) => entry.hands / entry.capacity - (entry === self ? WORTH_MOVING : 0);
  return able.sort((a, b) => load(a) - load(b)).slice(0, MAX_CANDIDATES);
}
