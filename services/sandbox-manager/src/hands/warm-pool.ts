/**
 * Hands made ahead, per recipe, so that a first tool call need not wait for an engine.
 *
 * W1 A warm hand belongs to one process and leaves its shelf before a record names it: no two sessions get the same.
 * W2 Nothing is kept for a recipe that nobody asked for within `maxAgeMs`; what is older is ended and made anew.
 * W3 One hand is made at a time, after a pause, and only where there is room: sessions come first.
 * W4 What a crash leaves has no record and names a maker that is gone: the next sweep of any manager removes it.
 */
import { type Clock, type Logger, newId, withDeadline } from "@manyhands/kit";
import type { Driver, Hand } from "../drivers/driver.ts";
import { buildHand } from "./build-hand.ts";
import type { Recipe } from "./hand-record.ts";
import { recipeKey } from "./recipe-key.ts";

/** Size and times of a pool. */
export type PoolLimits = {
  /** Warm hands kept for each recipe in use; 0 = none. */
  readonly perRecipe: number;
  /** Recipes that have warm hands at once; the one unused for longest gives way. */
  readonly recipes: number;
  /** A warm hand older than this is ended; a recipe unused for so long has none. */
  readonly maxAgeMs: number;
  /** Pause before each making, so that a session's first call has the machine for itself. */
  readonly pauseMs: number;
};

/** A hand that no session has yet. */
export type WarmHand = { readonly hand: Hand; readonly driver: Driver; readonly madeAtMs: number };

/** What a pool is made of. */
export type PoolOptions = {
  readonly limits: PoolLimits;
  readonly driverOf: (recipe: Recipe) => Driver;
  /** Whether one more hand fits beside those of sessions. */
  readonly hasRoom: () => boolean;
  readonly clock: Clock;
  readonly logger: Logger;
};

type Shelf = {
  readonly recipe: Recipe;
  readonly hands: WarmHand[];
  usedAtMs: number;
  making: Promise<void> | undefined;
  isAwaited: boolean;
};

const HEALTH_MS = 1000;
const NO_OPERATION = "manyhands-health";

/** The warm hands of one manager. */
export type WarmPool = ReturnType<typeof createWarmPool>;

/** An empty pool; it fills as recipes are used. */
export function createWarmPool({ limits, driverOf, hasRoom, clock, logger }: PoolOptions) {
  const shelves = new Map<string, Shelf>();
  const handedOut = new Set<string>();
  const ended = new AbortController();
  let filling: Promise<void> | undefined;

  const end = async ({ hand, driver }: WarmHand) => {
    try {
      await driver.destroy(hand.handId);
    } catch (error) {
      logger.warn({ err: error, hand: hand.handId }, "a warm hand is left to the sweep");
    }
  };

  const isRecent = (shelf: Shelf) => clock.nowMs() - shelf.usedAtMs < limits.maxAgeMs;

  const shelve = (shelf: Shelf, warm: WarmHand) => {
    shelf.hands.push(warm);
    warm.hand.lost.addEventListener("abort", () => {
      const at = shelf.hands.indexOf(warm);
      if (at < 0) return; // a session has it: its record tells
      shelf.hands.splice(at, 1);
      void end(warm);
    });
  };

  const make = async (shelf: Shelf) => {
    const driver = driverOf(shelf.recipe);
    const handId = newId("hand");
    handedOut.add(handId); // no orphan while it is made
    try {
      const build = { handId, sessionId: "", name: "", generation: 0, recipe: shelf.recipe };
      const warm = { hand: await buildHand(driver, build), driver, madeAtMs: clock.nowMs() };
      if (warm.hand.problems?.length) {
        await end(warm); // a session must be told of them: it makes its own
        throw new Error(warm.hand.problems.map(({ message }) => message).join("; "));
      }
      shelve(shelf, warm);
    } finally {
      handedOut.delete(handId);
    }
  };

  const fill = async () => {
    for (;;) {
      const shelf = [...shelves.values()].find((one) => one.hands.length < limits.perRecipe && isRecent(one));
      if (!shelf || !hasRoom()) return;
      await clock.sleep(limits.pauseMs, ended.signal);
      if (shelf.hands.length >= limits.perRecipe || !hasRoom()) continue;
      shelf.making = make(shelf);
      try {
        await shelf.making;
      } finally {
        shelf.making = undefined;
      }
    }
  };

  /** Fills what is empty unless that is under way; a failure ends the attempt, the next use or sweep begins another. */
  const refill = () => {
    if (ended.signal.aborted || filling) return;
    filling = fill()
      .catch((error: unknown) => {
        if (!ended.signal.aborted) logger.warn({ err: error }, "a warm hand could not be made");
      })
      .finally(() => {
        filling = undefined;
      });
  };

  const isHealthy = async ({ hand, madeAtMs }: WarmHand) => {
    if (hand.lost.aborted || clock.nowMs() - madeAtMs > limits.maxAgeMs) return false;
    try {
      await withDeadline(HEALTH_MS, "a warm hand's answer", () => hand.state(NO_OPERATION));
      return true;
    } catch {
      return false;
    }
  };

  const takeHealthy = async (shelf: Shelf): Promise<WarmHand | undefined> => {
    for (let warm = shelf.hands.shift(); warm; warm = shelf.hands.shift()) {
      handedOut.add(warm.hand.handId);
      if (await isHealthy(warm)) return warm;
      handedOut.delete(warm.hand.handId);
      void end(warm);
    }
    return undefined;
  };

  return {
    /** Warm hands and those being made: what counts against the capacity. */
    get size() {
      let size = 0;
      for (const shelf of shelves.values()) size += shelf.hands.length + (shelf.making ? 1 : 0);
      return size;
    },
    /** Warm hands that could be handed out now. */
    get ready() {
      let ready = 0;
      for (const shelf of shelves.values()) ready += shelf.hands.length;
      return ready;
    },
    /** True for a hand that is warm, in the making, or handed out and not settled yet: no orphan. */
    owns(handId: string): boolean {
      if (handedOut.has(handId)) return true;
      return [...shelves.values()].some((shelf) => shelf.hands.some(({ hand }) => hand.handId === handId));
    },
    /** True when a hand of this recipe could be handed out at once. */
    hasWarm(recipe: Recipe): boolean {
      return (shelves.get(recipeKey(recipe))?.hands.length ?? 0) > 0;
    },
    /** A healthy warm hand of this recipe, waiting for one in the making; call `settled` once its record is written. */
    async claim(recipe: Recipe): Promise<WarmHand | undefined> {
      const shelf = shelves.get(recipeKey(recipe));
      if (!shelf) return undefined;
      const warm = await takeHealthy(shelf);
      if (warm || !shelf.making || shelf.isAwaited) return warm;
      shelf.isAwaited = true;
      await shelf.making.catch(() => undefined);
      shelf.isAwaited = false;
      return takeHealthy(shelf);
    },
    /** The hand of a claim has its record, or was ended. */
    settled(handId: string): void {
      handedOut.delete(handId);
    },
    /** A recipe was used: from now on it has warm hands, made in the background. */
    want(recipe: Recipe): void {
      if (limits.perRecipe === 0 || ended.signal.aborted) return;
      const key = recipeKey(recipe);
      const known = shelves.get(key) ?? { recipe, hands: [], usedAtMs: 0, making: undefined, isAwaited: false };
      known.usedAtMs = clock.nowMs();
      shelves.delete(key);
      shelves.set(key, known);
      const oldest = shelves.entries().next();
      if (shelves.size > limits.recipes && !oldest.done) {
        shelves.delete(oldest.value[0]);
        for (const warm of oldest.value[1].hands.splice(0)) void end(warm);
      }
      refill();
    },
    /** Takes a hand back that was never used. False when there is no place for it. */
    put(recipe: Recipe, warm: WarmHand): boolean {
      const shelf = shelves.get(recipeKey(recipe));
      if (!shelf || warm.hand.lost.aborted || shelf.hands.length >= limits.perRecipe) return false;
      shelve(shelf, warm);
      return true;
    },
    /** Gives one warm hand's place to a session. False when there is none. */
    async makeRoom(): Promise<boolean> {
      for (const shelf of shelves.values()) {
        const warm = shelf.hands.shift();
        if (!warm) continue;
        await end(warm);
        return true;
      }
      return false;
    },
    /** Ends what is too old or unwanted, and refills; part of each sweep. */
    async tend(): Promise<void> {
      for (const [key, shelf] of shelves) {
        const kept = isRecent(shelf);
        const tooOld = shelf.hands.filter((warm) => !kept || clock.nowMs() - warm.madeAtMs > limits.maxAgeMs);
        for (const warm of tooOld) shelf.hands.splice(shelf.hands.indexOf(warm), 1);
        await Promise.all(tooOld.map(end));
        if (!kept && !shelf.making && shelf.hands.length === 0) shelves.delete(key);
      }
      refill();
    },
    /** Ends every warm hand: they would be nobody's. */
    async close(): Promise<void> {
      ended.abort(new Error("the manager stops"));
      await filling;
      for (const shelf of shelves.values()) await Promise.all(shelf.hands.splice(0).map(end));
    },
  };
}
