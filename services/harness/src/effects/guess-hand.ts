/**
 * A hand asked for on a guess: while the model still writes its first tool use, so that the hand is ready, or nearly,
 * when the call is known. Nothing of it is in the log. The provisioning in earnest takes it over at the manager; a
 * guess that was wrong is given back, and one whose brain died ends by itself.
 */
import type { LivingState } from "@manyhands/core";
import { handRequestOf } from "./recipe.ts";
import type { Sandboxes } from "./run-operation.ts";

const guessDeadlineMs = 60_000;
const giveBackMs = 10_000;

/** One guess. */
export interface Guess {
  /** It was right: the hand is asked for in earnest now. */
  used(): void;
  /** It was wrong, or nobody needs it any more: what came of it is given back. */
  drop(): void;
}

/** Asks for the session's hand on a guess. Failures are nobody's business: the call in earnest meets them again. */
export function guessHand(
  sandboxes: Sandboxes,
  session: { readonly id: string; readonly state: LivingState; readonly epoch: number },
): Guess | undefined {
  if (!sandboxes.release) return undefined; // nothing is asked for that could not be given back
  const { release } = sandboxes;
  let isSettled = false;
  const asked = sandboxes.provision({ ...handRequestOf(session), speculative: true }, { deadlineMs: guessDeadlineMs });
  asked.catch(() => undefined);
  const giveBack = async () => {
    const { hand } = await asked;
    if (hand) await release({ handId: hand.id, reason: "unused" }, { deadlineMs: giveBackMs });
  };
  return {
    used() {
      isSettled = true;
    },
    drop() {
      if (isSettled) return;
      isSettled = true;
      giveBack().catch(() => undefined); // it ends by itself after a minute
    },
  };
}
