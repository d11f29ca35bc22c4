/**
 * Other sessions' hands that this one was given a right to, as its log tells: which of them the model is offered, and by
 * which grant a call goes. Pure functions of the log, so that every brain builds the same bytes and sends the same call.
 */
import type { Json, SessionEvent } from "./events.ts";
import type { GrantedHand, LivingState } from "./state.ts";

/** Where a call runs. `nowhere`: it names a hand that the session has no right to use with this tool. */
export type CallPlace =
  | { readonly at: "own" }
  | { readonly at: "granted"; readonly handId: string; readonly grantId: string }
  | { readonly at: "nowhere"; readonly handId: string };

/** Older ones are forgotten: calls by them are refused. */
const maxGranted = 16;
/** Tools that only look, for which the right to read is enough. */
const reading: ReadonlySet<string> = new Set(["read", "glob", "grep"]);

/** The input of a hand tool that names another session's hand. */
export const handField = "hand";

/** What the session may use after one more event; the same array when nothing changed. */
export function grantedAfter(granted: readonly GrantedHand[], event: SessionEvent): readonly GrantedHand[] {
  switch (event.type) {
    case "hand.granted": {
      if (event.received !== true) return granted;
      const { hand_id: handId, grant_id: grantId, rights, tools } = event;
      const others = granted.filter((one) => one.grantId !== grantId);
      return [...others, { handId, grantId, rights, tools }].slice(-maxGranted);
    }
    case "hand.revoked":
      return without(granted, (one) => one.grantId === event.grant_id);
    case "hand.lost":
      return without(granted, (one) => one.handId === event.hand_id);
    case "session.forked":
      return without(granted, () => true); // rights are the origin's own
    default:
      return granted;
  }
}

/** The state with what the session may use after one more event. */
export function withGranted(state: LivingState, event: SessionEvent): LivingState {
  const { granted: before = [], ...rest } = state;
  const granted = grantedAfter(before, event);
  if (granted === before) return state;
  return granted.length === 0 ? rest : { ...rest, granted };
}

/** Hands that a tool may be used in by a grant, in the order in which they were granted. */
export function handsFor(granted: readonly GrantedHand[], tool: string): string[] {
  return [...new Set(granted.filter((one) => allows(one, tool)).map((one) => one.handId))];
}

/** Where a call of a hand tool runs; by the newest grant that allows it. */
export function placeOf(
  granted: readonly GrantedHand[],
  ownHandId: string | undefined,
  { name, input }: { readonly name: string; readonly input: { readonly [key: string]: Json } },
): CallPlace {
  const handId = input[handField];
  if (typeof handId !== "string" || handId === "" || handId === ownHandId) return { at: "own" };
  const grant = granted.findLast((one) => one.handId === handId && allows(one, name));
  return grant === undefined ? { at: "nowhere", handId } : { at: "granted", handId, grantId: grant.grantId };
}

function allows({ rights, tools }: GrantedHand, tool: string): boolean {
  const isGiven = rights.includes("execute") || (reading.has(tool) && rights.includes("read"));
  return isGiven && (tools.length === 0 || tools.includes(tool));
}

function without(granted: readonly GrantedHand[], isGone: (one: GrantedHand) => boolean): readonly GrantedHand[] {
  return granted.some(isGone) ? granted.filter((one) => !isGone(one)) : granted;
}
