/** What all parts of one world share. */
import { defaultLimits } from "@manyhands/core";
import type { Faults } from "./faults.ts";
import type { Scheduler } from "./scheduler.ts";
import type { Watch } from "./watch.ts";

/** Time, chance, the judge, and a way to say what happens. */
export interface Stage {
  readonly scheduler: Scheduler;
  readonly faults: Faults;
  readonly watch: Watch;
  newId(prefix: string): string;
  /** A line of the trace; made only when somebody reads it. */
  readonly note: (line: () => string) => void;
  /** A crash point or a place of a fault was reached. */
  readonly visited: (what: string) => void;
}

/** Limits small enough to be reached. */
export const simLimits = {
  ...defaultLimits,
  parallelTools: 2,
  iterationsPerTurn: 12,
  toolUsesPerResponse: 3,
  operationTimeoutMs: 1_500,
  modelAttempts: 4,
  modelBackoffMs: 50,
  modelBackoffMaxMs: 1_000,
};
