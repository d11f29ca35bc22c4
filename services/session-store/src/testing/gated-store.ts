/** A store whose calls are let through one at a time, in an order that a script chooses, and whose answers may be lost. */
import type { AppendOutcome, EventStore } from "../store/event-store.ts";

/** What happens to an append: as usual, stored but the answer lost, never arrived, or delivered twice. */
export type Fate = "usual" | "answerLost" | "neverArrived" | "twice";

/** Calls that wait, and which of them goes next. */
export interface Gate {
  pass(): Promise<void>;
  /** Lets one call after the other through until `isDone`, and then all; throws when nothing can go on. */
  run(isDone: () => boolean): Promise<void>;
}

const maxSteps = 20_000;
const maxIdle = 200;

/** A gate that takes the waiting calls in the order of `picks`, used over and over. */
export function createGate(picks: readonly number[]): Gate {
  const waiting: (() => void)[] = [];
  let isOpen = false;
  return {
    pass: () => (isOpen ? Promise.resolve() : new Promise((resolve) => waiting.push(resolve))),
    async run(isDone) {
      let idle = 0;
      for (let step = 0; step < maxSteps; step += 1) {
        await settled();
        isOpen = waiting.length === 0 && isDone();
        if (isOpen) return;
        idle = waiting.length === 0 ? idle + 1 : 0;
        if (idle > maxIdle) throw new Error("nothing goes on although not everything is done");
        const pick = picks.length === 0 ? 0 : (picks[step % picks.length] ?? 0);
        const [next] = waiting.splice(pick % Math.max(1, waiting.length), 1);
        next?.();
      }
      throw new Error(`not done after ${maxSteps} steps`);
    },
  };
}

/** The store behind the gate; fates are used up one by one, then everything goes as usual. */
export function gatedStore(store: EventStore, gate: Pick<Gate, "pass">, fates: readonly Fate[]): EventStore {
  let appends = 0;
  const through = async <T>(call: () => Promise<T>): Promise<T> => {
    await gate.pass();
    return call();
  };
  return {
    ...store,
    append: (frame, timeoutMs) =>
      through(() => meet(fates[appends++] ?? "usual", () => store.append(frame, timeoutMs))),
    read: (sessionId, frames) => through(() => store.read(sessionId, frames)),
    readFromLeader: (sessionId, frame, ms) => through(() => store.readFromLeader(sessionId, frame, ms)),
    exists: (sessionId) => through(() => store.exists(sessionId)),
    lastFrame: (sessionId) => through(() => store.lastFrame(sessionId)),
  };
}

async function meet(fate: Fate, append: () => Promise<AppendOutcome>): Promise<AppendOutcome> {
  if (fate === "neverArrived") return { kind: "unknown", why: "it never arrived" };
  const outcome = await append();
  if (fate === "twice") await append();
  return fate === "answerLost" ? { kind: "unknown", why: "its answer was lost" } : outcome;
}

/** Everything that could go on without the store has gone on. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 2; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}
