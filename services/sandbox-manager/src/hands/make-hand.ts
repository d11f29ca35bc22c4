/**
 * A new hand for a session: a warm one where there is one, else built. The record is written before the engine is
 * touched, so a crash leaves a record that says `provisioning`, and a container whose name the record knows.
 */
import { AppError, newId, toAppError } from "@manyhands/kit";
import type { Driver } from "../drivers/driver.ts";
import type { HandEgress } from "../egress/hand-egress.ts";
import { noFiles } from "../mounts/file-source.ts";
import { noMemories } from "../mounts/memories.ts";
import { mountFiles } from "../mounts/mount-files.ts";
import { mountMemories } from "../mounts/mount-memories.ts";
import { prepareRecipe } from "../recipe/prepare-recipe.ts";
import type { RecipeProblem } from "../recipe/recipe-repository.ts";
import type { Moment } from "../snapshots/snapshots.ts";
import { withFilesOf } from "../snapshots/with-files.ts";
import { buildHand, driverOf } from "./build-hand.ts";
import type { HandRecord, Recipe, StoredHand } from "./hand-record.ts";
import type { HeldHand } from "./held-hands.ts";
import type { Manager } from "./manager.ts";
import { hold } from "./take-hand.ts";
import type { WarmHand } from "./warm-pool.ts";

/** A guess that nobody came for in earnest ends after this. */
const SPECULATIVE_MS = 60_000;
const FULL_RETRY_MS = 2000;

/** What is asked for. */
export type Wanted = {
  readonly sessionId: string;
  readonly name: string;
  readonly recipe: Recipe;
  readonly brainEpoch: number;
  /** Asked for on a guess. */
  readonly speculative: boolean;
  /** Operations or snapshots, newest first: a new hand begins with the files after the first that is known. */
  readonly filesAfter: readonly string[];
};

/** The refusal of a full house; the caller waits as long as it says and asks again. */
export function fullHouse(words: string): AppError {
  return AppError.exhausted("HAND_CAPACITY", words, FULL_RETRY_MS);
}

/** Makes a new hand in place of `before` (lost, released or absent). Undefined when somebody else was faster. */
export async function makeHand(
  manager: Manager,
  asked: Wanted,
  before: StoredHand | undefined,
): Promise<HeldHand | undefined> {
  const { pool, held, limits } = manager;
  const driver = driverOf(manager, asked.recipe);
  if (held.size >= limits.capacity) {
    throw fullHouse(`this manager holds ${limits.capacity} hands, which is its limit (MH_HAND_CAPACITY)`);
  }
  return held.whileMaking(async () => {
    const { recipe, problems, moment } = await prepareRecipe(manager, driver, asked, before?.record);
    const wanted = { ...asked, recipe };
    const egress = await manager.egressOf?.(wanted.sessionId);
    // A warm hand's environment is made already.
    const warm = egress ? undefined : await pool.claim(wanted.recipe);
    try {
      if (!warm && held.size + pool.size > limits.capacity) await pool.makeRoom();
      const making = { driver: warm?.driver ?? driver, wanted, before, warm, egress, problems, moment };
      const made = await make(manager, making);
      if (!driver.takesTools) pool.want(wanted.recipe);
      return made;
    } finally {
      if (warm) pool.settled(warm.hand.handId);
    }
  });
}

type Making = {
  readonly driver: Driver;
  readonly wanted: Wanted;
  readonly before: StoredHand | undefined;
  readonly warm: WarmHand | undefined;
  readonly egress: HandEgress | undefined;
  readonly problems: readonly RecipeProblem[];
  readonly moment: Moment | undefined;
};

async function make(manager: Manager, making: Making): Promise<HeldHand | undefined> {
  const { driver, wanted, before, warm } = making;
  const record = newRecord(manager, driver, wanted, before, warm?.hand.handId ?? newId("hand"));
  const claimed = await manager.store.write(record, before?.revision ?? 0).catch(async (error: unknown) => {
    if (warm) await driver.destroy(record.handId).catch(() => undefined); // the sweep finds what is left
    throw error;
  });
  if (!claimed) {
    if (warm && !manager.pool.put(wanted.recipe, warm)) await driver.destroy(record.handId);
    return undefined;
  }
  try {
    const built = warm?.hand ?? (await buildHand(driver, record, making.egress));
    const { hand, problems } = await withFilesOf(manager, driver, record, built, making.moment);
    const mounted = record.recipe.mountedFiles ?? [];
    const context = { hand, driver, sessionId: record.sessionId, source: manager.files ?? noFiles };
    const missing = mounted.length === 0 ? [] : [...(await mountFiles(context, mounted))];
    const stores = record.recipe.mountedMemories ?? [];
    if (stores.length > 0)
      missing.push(...(await mountMemories({ ...context, source: manager.memories ?? noMemories }, stores)));
    const ready = await manager.store.write(
      {
        ...record,
        state: "ready",
        changedAtMs: manager.clock.nowMs(),
        problems: [...making.problems, ...(hand.problems ?? []), ...problems, ...missing],
      },
      claimed.revision,
    );
    if (!ready) throw AppError.conflict("HAND_RELEASED", "the hand was released while it was made");
    const made = hold(manager, driver, hand, ready, true);
    const isAsMade = !making.egress && !making.moment && mounted.length + stores.length === 0;
    made.isGeneric = isAsMade && (ready.record.problems ?? []).length === 0;
    return made;
  } catch (error) {
    await driver.destroy(record.handId).catch(() => undefined); // the sweep finds what is left
    const failed: HandRecord = {
      ...record,
      state: "lost",
      lostReason: toAppError(error).message,
      changedAtMs: manager.clock.nowMs(),
    };
    await manager.store.write(failed, claimed.revision).catch(() => undefined);
    throw error;
  }
}

function newRecord(
  manager: Manager,
  driver: Driver,
  wanted: Wanted,
  before: StoredHand | undefined,
  handId: string,
): HandRecord {
  const now = manager.clock.nowMs();
  return {
    handId,
    sessionId: wanted.sessionId,
    name: wanted.name,
    generation: (before?.record.generation ?? 0) + 1,
    driver: driver.name,
    place: driver.place,
    notIsolated: driver.notIsolated,
    recipe: wanted.recipe,
    state: "provisioning",
    managerId: manager.managerId,
    managerAddress: manager.address(),
    attachEpoch: 1,
    brainEpoch: Math.max(wanted.brainEpoch, before?.record.brainEpoch ?? 0),
    createdAtMs: now,
    changedAtMs: now,
    lostReason: "",
    speculativeUntilMs: wanted.speculative ? now + SPECULATIVE_MS : 0,
  };
}
