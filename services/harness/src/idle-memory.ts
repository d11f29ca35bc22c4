/**
 * Gives memory back when nothing is to be done. V8 collects when something is allocated: a brain that has brought
 * thousands of sessions to a question and now waits would keep what those turns needed for a moment, for ever.
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

const restMs = 1_500;

/** Call the answer whenever the last session in work ended; when none has come `restMs` later, garbage is collected. */
export function createIdleMemory(inWork: () => number): () => void {
  setFlagsFromString("--expose-gc");
  const collect: unknown = runInNewContext("gc");
  let timer: NodeJS.Timeout | undefined;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      if (inWork() === 0 && typeof collect === "function") collect();
    }, restMs);
    timer.unref();
  };
}
