/**
 * Checkpoints: the fold of a log, written into the log, so that a brain need not read what lies before. Never the truth.
 *
 * C1 Folding on from a checkpoint gives what folding the whole log gives.
 * C2 A checkpoint that is absent, unreadable, of another version or out of place is no checkpoint: fold the whole log.
 * C3 What a checkpoint does not hold is the conversation: it says from where on that has to be read.
 */
import type { EventDraft } from "./actions.ts";
import type { Toolset } from "./agent-config.ts";
import { type EventOf, isUnknownEvent, type Json, type SessionEvent, type UnknownEvent } from "./events.ts";
import { fold } from "./evolve.ts";
import { isSavedState, type SavedAgent } from "./saved-state.ts";
import type { LivingState, State } from "./state.ts";

/**
 * Version of `evolve` and `State`. Raise it whenever a log folds to another state than before, also when a field is added:
 * checkpoints of other versions are passed over.
 */
export const foldVersion = 4;

/** Most bytes of a state that is saved, as JSON. A larger one is not: reading it would cost what it saves. */
export const maxCheckpointBytes = 128 * 1024;

/** What a log, or its end from a checkpoint on, folds to. */
export interface Folded {
  readonly state: State;
  /** Position of the first event that was folded: the checkpoint's, or 0. */
  readonly from: number;
}

/** The checkpoint of a state, to be stored at its head; `undefined` when the state is too large. */
export function checkpointDraft(state: LivingState): EventDraft<"context.checkpointed"> | undefined {
  const { agent } = state;
  const text = JSON.stringify({ ...state, agent: saveAgent(agent) });
  if (text.length > maxCheckpointBytes) return undefined;
  const saved: Json = JSON.parse(text);
  return { type: "context.checkpointed", up_to_position: state.head, fold_version: foldVersion, state: saved };
}

/**
 * Folds a log that was read from its beginning, or from a checkpoint on. `undefined` when it begins with anything else, or
 * with a checkpoint that cannot be used (C2): then read it from position 0.
 */
export function foldFrom(events: readonly (SessionEvent | UnknownEvent)[]): Folded | undefined {
  const [first, ...rest] = events;
  if (first === undefined || first.position === 0) return { state: fold(events), from: 0 };
  if (isUnknownEvent(first) || first.type !== "context.checkpointed") return undefined;
  const saved = restore(first);
  return saved && { state: fold(rest, { ...saved, head: first.position + 1 }), from: first.position };
}

/**
 * Position after the newest checkpoint that a log holds, as far as these events tell: `before` when they hold none. A fork
 * begins without one, since the store names no checkpoint of its origin.
 */
export function checkpointedTo(events: readonly (SessionEvent | UnknownEvent)[], before: number): number {
  const last = events.findLast((event) => event.type === "context.checkpointed" || event.type === "session.forked");
  if (last === undefined) return before;
  return last.type === "context.checkpointed" ? last.position + 1 : 0;
}

function restore(checkpoint: EventOf<"context.checkpointed">): LivingState | undefined {
  const { position, up_to_position, fold_version } = checkpoint;
  if (fold_version !== foldVersion || up_to_position !== position) return undefined;
  const saved: unknown = checkpoint.state;
  if (!isSavedState(saved) || saved.head !== position) return undefined;
  return { ...saved, agent: restoreAgent(saved.agent) };
}

/** JSON has no maps. */
function saveAgent(agent: LivingState["agent"]): SavedAgent {
  const { toolset, ...rest } = agent;
  return {
    ...rest,
    ...(toolset === undefined ? {} : { toolset: saveToolset(toolset) }),
    mcp: [...agent.mcp].map(([name, set]) => [name, saveToolset(set)]),
  };
}

function saveToolset(set: Toolset) {
  return { ...set, exceptions: [...set.exceptions] };
}

function restoreAgent(agent: SavedAgent): LivingState["agent"] {
  const { toolset, ...rest } = agent;
  const restoreToolset = (set: NonNullable<typeof toolset>) => ({ ...set, exceptions: new Map(set.exceptions) });
  return {
    ...rest,
    ...(toolset === undefined ? {} : { toolset: restoreToolset(toolset) }),
    mcp: new Map(agent.mcp.map(([name, set]) => [name, restoreToolset(set)])),
  };
}
