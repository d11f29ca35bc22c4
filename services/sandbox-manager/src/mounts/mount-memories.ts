/** Memory stores of a session in its hand, as they are when it is made: files that no tool can change. */
import { toAppError } from "@manyhands/kit";
import type { Driver, Hand } from "../drivers/driver.ts";
import type { MountedMemory } from "../hands/hand-record.ts";
import type { RecipeProblem } from "../recipe/recipe-repository.ts";
import { errnoText } from "../tools/errno.ts";
import type { MemorySource } from "./memory-source.ts";
import { placeFile } from "./place-file.ts";

/** Whose hand it is, and where its memories come from. */
export type MemoryContext = {
  readonly hand: Hand;
  readonly driver: Driver;
  readonly sessionId: string;
  readonly source: MemorySource;
};

/** Puts all memories in their places; what cannot be had is told. Rejects only when asking again may help. */
export async function mountMemories(
  { hand, driver, sessionId, source }: MemoryContext,
  stores: readonly MountedMemory[],
): Promise<readonly RecipeProblem[]> {
  if (driver.takesTools) return stores.map((store) => problem(store, "this hand has no files"));
  const problems: RecipeProblem[] = [];
  for (const store of stores) {
    try {
      for await (const { path, content } of source(sessionId, store.storeId)) {
        const whole = { path: `${store.path}${path}`, offset: 0, content: Buffer.from(content), step: "last" } as const;
        const errno = await placeFile(hand, whole);
        if (errno === 0) continue;
        problems.push(problem(store, `${path}: ${errnoText(errno)}`));
        break;
      }
    } catch (thrown) {
      const error = toAppError(thrown);
      if (error.kind !== "notFound") throw error;
      problems.push(problem(store, error.message));
    }
  }
  return problems;
}

function problem({ storeId, path }: MountedMemory, why: string): RecipeProblem {
  return {
    type: "unknown_error",
    message: `memory store ${storeId} is not whole at ${path}: ${why}`,
    repositoryUrl: "",
  };
}
