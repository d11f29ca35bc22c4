/** How a session's state begins: anew, as a fork of a living one, or as the fork of a closed one. */
import { listOf, objectOf, parseAgent, withSettings } from "./agent-config.ts";
import { parseBudget } from "./budget.ts";
import { emptyWindow } from "./context/window-state.ts";
import type { EventOf } from "./events.ts";
import { filesOfNewHand } from "./files-after.ts";
import { withMemoryWords } from "./memory-words.ts";
import { settingsOf } from "./settings.ts";
import type { Call, LivingState } from "./state.ts";

/** The state after the first event of all. */
export function born(event: EventOf<"session.created" | "session.forked">): LivingState {
  return {
    ...beginning(event),
    phase: "resting",
    lastStop: "",
    head: event.position + 1,
    epoch: event.epoch,
    inbox: [],
    iterations: 0,
    toolCalls: 0,
    window: emptyWindow,
  };
}

/** A closed session's history goes on elsewhere; what its end left open, the transcript fills in. */
export function reborn(epoch: number, event: EventOf<"session.forked">): LivingState {
  return { ...born(event), epoch: Math.max(epoch, event.epoch) };
}

/** What a session begins with, anew or as a fork. */
function beginning(event: EventOf<"session.created" | "session.forked">) {
  const settings = settingsOf(event.metadata);
  const budget = parseBudget(event.budget);
  const resources = listOf(event.resources).map(objectOf);
  return {
    harnessKind: event.harness_kind,
    agent: withSettings(withMemoryWords(parseAgent(event.agent), resources), settings),
    settings,
    ...(budget === undefined ? {} : { budget }),
    usageByModel: {},
    environment: objectOf(event.environment),
    resources,
    handsMade: 0,
    interrupted: false,
    status: "idle" as const,
    saidRunning: false,
    announced: [],
    runningSince: 0,
    activeMs: 0,
    usage: { input_tokens: 0, output_tokens: 0, cache_read_input_tokens: 0, cache_creation_input_tokens: 0 },
    wakes: 0,
  };
}

/** A fork goes on where the shared history ends, idle, with its own setup and nothing of the origin's that runs. */
export function forked(state: LivingState, event: EventOf<"session.forked">): LivingState {
  const { budget: _, ...own } = withoutHand(state);
  const begun = { ...own, ...beginning(event), epoch: Math.max(state.epoch, event.epoch) };
  if (begun.phase === "resting") return begun;
  const calls = begun.calls.map(leaveBehind);
  return begun.phase === "acting"
    ? { ...begun, calls }
    : { ...begun, calls, failures: 0, retryAtMs: 0, exhausted: false };
}

function leaveBehind(call: Call): Call {
  const { progress } = call;
  return progress.at === "dispatched" ? { ...call, progress: { at: "leftBehind", handId: progress.handId } } : call;
}

/** A new hand, or the same one once more: it was told that its recipe changed. */
export function provisioned(state: LivingState, event: EventOf<"hand.provisioned">): LivingState {
  const hand = { id: event.hand_id, generation: event.generation };
  if (state.hand?.id === event.hand_id) return { ...state, hand };
  const handsMade = Math.max(state.handsMade + 1, event.generation);
  return { ...filesOfNewHand(state, event.hand_id), hand, handsMade };
}

/** The state without its hand. */
export function withoutHand(state: LivingState): LivingState {
  const { hand: _, ...rest } = state;
  return rest;
}
