import type { HeldHand } from "../hands/held-hands.ts";
import type { Manager } from "../hands/manager.ts";
import { beginUse, endUse } from "../hands/use.ts";
import type { Grant } from "./grant.ts";

/**
 * Ends what runs under ended grants in a hand that is held here. Operations are killed by the ids that the record
 * has, so also those that were begun through a manager that is gone; what has ended by itself stays as it ended.
 */
export async function cutUnder(manager: Manager, held: HeldHand, ended: readonly Grant[]): Promise<void> {
  for (const { grantId } of ended) manager.uses.cut(grantId);
  const operations = new Set(ended.flatMap((grant) => grant.operations));
  if (operations.size === 0) return;
  await beginUse(manager, held);
  try {
    await Promise.all([...operations].map((id) => held.hand.cancel(id)));
  } finally {
    endUse(manager, held);
  }
}
