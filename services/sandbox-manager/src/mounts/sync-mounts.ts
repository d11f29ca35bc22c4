import { AppError } from "@manyhands/kit";
import type { HeldHand } from "../hands/held-hands.ts";
import type { Wanted } from "../hands/make-hand.ts";
import type { Manager } from "../hands/manager.ts";
import { beginUse, endUse } from "../hands/use.ts";
import { noFiles } from "./file-source.ts";
import { mountFiles, sameMounts } from "./mount-files.ts";

const WRITE_ATTEMPTS = 5;

/**
 * A hand that exists is asked for again with other files: it gets them, and its record says so. The record's problems
 * are from then on those of this change alone, since the others were told when it was made.
 */
export async function syncMounts(manager: Manager, held: HeldHand, { sessionId, recipe }: Wanted): Promise<void> {
  const wanted = recipe.mountedFiles ?? [];
  const had = held.stored.record.recipe.mountedFiles ?? [];
  if (sameMounts(had, wanted)) return;
  const { hand, driver } = held;
  await beginUse(manager, held);
  try {
    held.isGeneric = false;
    const problems = await mountFiles({ hand, driver, sessionId, source: manager.files ?? noFiles }, wanted, had);
    for (let attempt = 0; attempt < WRITE_ATTEMPTS; attempt++) {
      const { record, revision } = held.stored;
      const changed = { ...record, recipe: { ...record.recipe, mountedFiles: wanted }, problems };
      const stored = await manager.store.write(changed, revision);
      if (stored) {
        held.stored = stored;
        return;
      }
      const now = await manager.store.byId(hand.handId);
      const isOurs = now?.record.handId === hand.handId && now.record.managerId === manager.managerId;
      if (!now || !isOurs || now.record.state !== "ready") break;
      held.stored = now;
    }
    throw AppError.unavailable("HAND_MOVED", "the hand changed its manager or ended; ask again");
  } finally {
    endUse(manager, held);
  }
}
