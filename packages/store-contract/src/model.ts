/** Random programs, each answer compared with that of a map in memory. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { answerMs, frame, isSame, numbers } from "./frames.ts";
import type { StoreUnderTest } from "./store-under-test.ts";

const step = fc.record({
  what: fc.constantFrom("append", "append", "append", "read", "leader", "last", "purge"),
  session: fc.nat(2),
  number: fc.nat(7),
  id: fc.constantFrom("a", "b"),
  keep: fc.constantFrom<0 | 1>(0, 1),
});

type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

/** Declares the test. */
export function againstModel(under: StoreUnderTest, programs: number): void {
  it(`answers as a map would, whatever the program (${programs})`, async () => {
    let run = 0;
    const property = fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 30 }), async (steps) => {
      run += 1;
      const model = new Map<string, Map<number, string>>();
      for (const one of steps) await compare(under, model, `sesn_model${run}x${one.session}`, one);
    });
    await fc.assert(property, { numRuns: programs });
  });
}

async function compare(
  { store }: StoreUnderTest,
  model: Map<string, Map<number, string>>,
  sessionId: string,
  { what, number, id, keep }: Step,
): Promise<void> {
  const known = model.get(sessionId) ?? new Map<number, string>();
  model.set(sessionId, known);
  const newest = known.size === 0 ? undefined : Math.max(...known.keys());
  switch (what) {
    case "append": {
      // The next number, or one that may be taken: a store need not take frames that leave a gap.
      const at = Math.min(number, (newest ?? -1) + 1);
      const outcome = await store.append(frame(sessionId, at, id), answerMs);
      if (newest !== undefined && at < newest && !known.has(at)) return; // removed: whether the number is free again is not promised
      expect(outcome.kind).toBe(known.has(at) ? "exists" : "stored");
      if (!known.has(at)) known.set(at, id);
      return;
    }
    case "read": {
      const stored = await store.read(sessionId, numbers(0, 10));
      for (const [at, wanted] of known) {
        const one = stored.find((candidate) => candidate.frame === at);
        expect(isSame(one?.payload, frame(sessionId, at, wanted).payload)).toBe(true);
      }
      return;
    }
    case "leader": {
      const wanted = known.get(number);
      if (wanted === undefined) return;
      const payload = await store.readFromLeader(sessionId, number, answerMs);
      expect(isSame(payload, frame(sessionId, number, wanted).payload)).toBe(true);
      return;
    }
    case "last":
      expect(await store.lastFrame(sessionId)).toBe(newest);
      expect(await store.exists(sessionId)).toBe(newest !== undefined);
      return;
    case "purge":
      await store.purge(sessionId, keep);
      for (const at of [...known.keys()]) if (keep === 0 || at !== newest) known.delete(at);
      return;
    default: {
      const never: never = what;
      throw new Error(`unknown step ${String(never)}`);
    }
  }
}
