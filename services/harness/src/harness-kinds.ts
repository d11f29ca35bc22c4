/**
 * The plug-in seam: a harness decides, the runner does the rest. Several kinds and versions can be registered; a
 * session names its kind.
 */
import { type Action, decide, type View } from "@manyhands/core";

/** A harness: a total, deterministic function from what is known to what shall happen. */
export interface Harness {
  /** Named by sessions and wake subjects. */
  readonly kind: string;
  readonly version: string;
  /** The next step. Called again after every event; it keeps no memory of its own. */
  next(view: View): Action;
}

/** Registered harnesses by kind. */
export type HarnessKinds = ReadonlyMap<string, Harness>;

/** The harness that sessions get unless they name another. */
export const defaultHarness: Harness = { kind: "default", version: "1.0.0", next: decide };

/** A registry; throws when two harnesses claim the same kind. */
export function registerHarnesses(harnesses: readonly Harness[]): HarnessKinds {
  const kinds = new Map(harnesses.map((one) => [one.kind, one]));
  if (kinds.size !== harnesses.length) throw new TypeError("two harnesses have the same kind");
  return kinds;
}
