import { AppError } from "@manyhands/kit";
import type { Driver, Hand } from "../drivers/driver.ts";
import { buildHand } from "../hands/build-hand.ts";
import type { HandRecord } from "../hands/hand-record.ts";
import type { Manager } from "../hands/manager.ts";
import type { RecipeProblem } from "../recipe/recipe-repository.ts";
import { restoreFiles } from "./restore-files.ts";
import type { Moment } from "./snapshots.ts";

/**
 * A new hand with the files of a moment. Where they cannot be made again the hand is made anew with those of the
 * recipe, and that is told: half of a moment's files would be worse than none.
 */
export async function withFilesOf(
  { snapshots }: Pick<Manager, "snapshots">,
  driver: Driver,
  record: HandRecord,
  hand: Hand,
  moment: Moment | undefined,
): Promise<{ readonly hand: Hand; readonly problems: readonly RecipeProblem[] }> {
  if (!moment || !snapshots) return { hand, problems: [] };
  try {
    // Before the restore: what the recipe made is what its snapshots differ from.
    snapshots.begin({ hand, sessionId: record.sessionId, repositories: record.recipe.repositories }, true);
    await snapshots.settled(hand.handId);
    await restoreFiles(hand, moment, snapshots.store);
    await snapshots.started(hand.handId);
    return { hand, problems: [] };
  } catch (error) {
    if (!(error instanceof AppError) || error.kind !== "conflict") throw error;
    await driver.destroy(record.handId);
    const problem = { type: "unknown_error", message: error.message, repositoryUrl: "" };
    return { hand: await buildHand(driver, record), problems: [problem] };
  }
}
