/**
 * Keeps hands' writable memory folders and their stores the same: after each operation that may have changed files, before
 * one when the last look is long ago, and once more before a hand is given back.
 *
 * Y1 What an operation left in a folder is in the store when its result is told, or the result says what is not.
 * Y2 A change goes out only over the content it was made from; who was slower keeps both texts (see `merge-memories.ts`).
 * Y3 It acts on behalf of the hand's own session, whoever's operation ran: what that session may not change, it does not.
 * Y4 A failure costs no operation: what could not be kept stays in the folder and is tried again.
 */
import { MEMORY_FOLDER } from "@manyhands/core";
import { toAppError, withDeadline } from "@manyhands/kit";
import type { MountedMemory } from "../hands/hand-record.ts";
import type { HeldHand } from "../hands/held-hands.ts";
import type { Manager } from "../hands/manager.ts";
import { beginUse, endUse } from "../hands/use.ts";
import { noMemories } from "./memories.ts";
import { lookAtFolder, readAgreed, type SeenFile, writeAgreed } from "./memory-folder.ts";
import { isChanged, mergeSteps } from "./merge-memories.ts";
import { takeStep, type Watched } from "./take-step.ts";

/** How long an operation waits for it; the rest is done next time. */
const WAIT_MS = 15_000;
/** What others wrote into a store is looked for this often. */
const REFRESH_MS = 15_000;
/** Looks again when somebody else was faster. */
const ROUNDS = 3;
const MAX_NOTES = 8;
/** Paths whose refusal is remembered; beyond it they are told once more. */
const MAX_REFUSED = 10_000;

type HandMemories = { readonly watched: readonly Watched[]; notes: string[]; work: Promise<void> };

/** What it needs of a manager, and of a hand. */
type Keeper = Pick<Manager, "clock" | "memories" | "logger">;
type Kept = Pick<HeldHand, "hand" | "driver" | "stored">;

const byHand = new WeakMap<Kept, HandMemories>();

/** Before an operation: what others wrote is brought, when that was last looked for long ago. */
export async function refreshMemories(manager: Keeper, held: Kept): Promise<void> {
  const before = manager.clock.nowMs() - REFRESH_MS;
  await sync(manager, held, ({ readAtMs }) => readAtMs <= before);
}

/** After an operation: what it may have changed is kept. Answers what the model must know, in words. */
export async function keepMemories(manager: Keeper, held: Kept, mayChange: boolean): Promise<readonly string[]> {
  await sync(manager, held, () => mayChange);
  const notes = memoriesOf(manager, held).notes.splice(0);
  const more = notes.length - MAX_NOTES;
  return more > 0 ? [...notes.slice(0, MAX_NOTES), `and ${more} more like these`] : notes;
}

/** Before a hand is given back or moved on: what its background processes wrote since. Never rejects. */
export async function flushMemories(manager: Manager, held: HeldHand): Promise<void> {
  if (memoriesOf(manager, held).watched.length === 0 || held.hand.lost.aborted) return;
  try {
    await withDeadline(WAIT_MS, "the hand's memories", async () => {
      await beginUse(manager, held);
      try {
        await keepMemories(manager, held, true);
      } finally {
        endUse(manager, held);
      }
    });
  } catch (error) {
    manager.logger.warn({ err: error, hand: held.hand.handId }, "memories of a hand that ends may not be kept");
  }
}

function memoriesOf({ clock }: Pick<Keeper, "clock">, held: Kept): HandMemories {
  const known = byHand.get(held);
  if (known) return known;
  const mounts = held.driver.takesTools ? [] : (held.stored.record.recipe.mountedMemories ?? []);
  const watched = mounts.filter(({ writable }) => writable).map((mount) => watch(mount, clock.nowMs()));
  const made = { watched, notes: [], work: Promise.resolve() };
  byHand.set(held, made);
  return made;
}

function watch({ storeId, path }: MountedMemory, nowMs: number): Watched {
  return {
    storeId,
    root: path,
    agreed: undefined,
    seen: new Map(),
    readAtMs: nowMs,
    isClosed: false,
    isDirty: false,
    refused: new Map(),
  };
}

/** One after the other for each hand; nobody waits longer than `WAIT_MS`. */
async function sync(manager: Keeper, held: Kept, isWanted: (watched: Watched) => boolean): Promise<void> {
  const memories = memoriesOf(manager, held);
  const wanted = memories.watched.filter((one) => !one.isClosed && isWanted(one));
  if (wanted.length === 0) return;
  const untilMs = manager.clock.nowMs() + WAIT_MS;
  memories.work = memories.work.then(async () => {
    for (const one of wanted) await syncOne(manager, held, one, memories.notes, untilMs);
  });
  await withDeadline(WAIT_MS, "memory", () => memories.work).catch(() => {
    memories.notes.push(`changes below ${MEMORY_FOLDER} are not all kept yet; that goes on after the next call`);
  });
}

async function syncOne(manager: Keeper, held: Kept, watched: Watched, notes: string[], untilMs: number) {
  const { root, storeId } = watched;
  try {
    await bringTogether(manager, held, watched, notes, untilMs);
  } catch (thrown) {
    if (held.hand.lost.aborted) return;
    const error = toAppError(thrown);
    const isOver = ["MEMORY_STORE_NOT_FOUND", "SESSION_NOT_FOUND", "MEMORY_READ_ONLY", "ARCHIVED", "NO_SESSION_STORE"];
    watched.isClosed = isOver.includes(error.reason);
    const then = watched.isClosed ? "is kept no more" : "is not kept yet and is tried again after the next call";
    notes.push(`what you change in ${root} ${then}: ${error.message}`);
    manager.logger.warn({ err: error, hand: held.hand.handId, store: storeId }, "memories of a hand are not kept");
  }
  if (!watched.isDirty || !watched.agreed || held.hand.lost.aborted) return;
  try {
    await writeAgreed(held.hand, root, watched.agreed);
    watched.isDirty = false;
  } catch (error) {
    manager.logger.warn({ err: error, hand: held.hand.handId, store: storeId }, "a hand has no room to note memories");
  }
}

async function bringTogether(
  manager: Keeper,
  held: Kept,
  watched: Watched,
  notes: string[],
  untilMs: number,
): Promise<void> {
  const { clock, memories = noMemories } = manager;
  const { hand } = held;
  const { root, storeId } = watched;
  const store = { sessionId: held.stored.record.sessionId, storeId };
  watched.agreed ??= await readAgreed(hand, root);
  for (let round = 1; round <= ROUNDS; round++) {
    const nowMs = clock.nowMs();
    const folder = await lookAtFolder(hand, root, watched.seen, nowMs);
    tellUnfit(watched, folder, notes);
    watched.seen = settled(folder, watched.agreed);
    if (!isChanged(watched.agreed, folder) && nowMs - watched.readAtMs < REFRESH_MS) return;
    const there = await memories.list(store);
    watched.readAtMs = nowMs;
    const context = { hand, memories, store, watched, folder, notes, isLast: round === ROUNDS };
    let isBeaten = false;
    for (const step of mergeSteps(watched.agreed, folder, there)) {
      if (clock.nowMs() > untilMs) {
        watched.readAtMs = Number.NEGATIVE_INFINITY;
        return;
      }
      isBeaten = (await takeStep(context, step)) === "beaten" || isBeaten;
    }
    watched.seen = settled(folder, watched.agreed);
    if (!isBeaten) return;
  }
}

/** What need not be read again until it changes, without contents. */
function settled(folder: ReadonlyMap<string, SeenFile>, agreed: ReadonlyMap<string, string>): Map<string, SeenFile> {
  const kept = [...folder].filter(([path, { sha256, unfit }]) => unfit !== undefined || agreed.get(path) === sha256);
  return new Map(kept.map(([path, { content: _, ...file }]) => [path, file]));
}

/** Each once; not what cannot be read this moment. */
function tellUnfit({ root, refused }: Watched, folder: ReadonlyMap<string, SeenFile>, notes: string[]): void {
  if (refused.size > MAX_REFUSED) refused.clear();
  for (const [path, { unfit, sha256 }] of folder) {
    if (unfit === undefined || sha256 === "" || refused.get(path) === sha256) continue;
    refused.set(path, sha256);
    notes.push(`${root}${path} is no memory and is not kept: ${unfit}`);
  }
}
