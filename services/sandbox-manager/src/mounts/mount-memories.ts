/** Memory stores of a session in its hand, as they are when it is made. */
import { toAppError } from "@manyhands/kit";
import type { Driver, Hand } from "../drivers/driver.ts";
import type { MountedMemory } from "../hands/hand-record.ts";
import type { RecipeProblem } from "../recipe/recipe-repository.ts";
import { errnoText } from "../tools/errno.ts";
import type { Memories } from "./memories.ts";
import { changeFile, climbs, writeAgreed } from "./memory-folder.ts";
import { placeFile } from "./place-file.ts";

/** Problems of one store that are told. */
const MAX_TOLD = 3;

/** Whose hand it is, and where its memories come from. */
export type MemoryContext = {
  readonly hand: Hand;
  readonly driver: Driver;
  readonly sessionId: string;
  readonly source: Memories;
};

/** Puts all memories in their places; what cannot be had is told. Rejects only when asking again may help. */
export async function mountMemories(
  context: MemoryContext,
  stores: readonly MountedMemory[],
): Promise<readonly RecipeProblem[]> {
  if (context.driver.takesTools) return stores.map((store) => problem(store, "this hand has no files"));
  const problems: RecipeProblem[] = [];
  for (const store of stores) {
    const missing: string[] = [];
    try {
      await mountStore(context, store, missing);
    } catch (thrown) {
      const error = toAppError(thrown);
      if (error.kind !== "notFound") throw error;
      missing.unshift(error.message);
    }
    problems.push(...missing.slice(0, MAX_TOLD).map((why) => problem(store, why)));
  }
  return problems;
}

async function mountStore(
  { hand, sessionId, source }: MemoryContext,
  { storeId, path: root, writable }: MountedMemory,
  missing: string[],
): Promise<void> {
  const agreed = new Map<string, string>();
  if (writable) {
    const errno = await placeFile(hand, { path: root, step: "folder" });
    if (errno !== 0) {
      missing.push(`its folder cannot be made: ${errnoText(errno)}`);
      return;
    }
  }
  const put = async (path: string, content: string) => {
    if (climbs(path)) return "its path leads elsewhere";
    if (writable) return changeFile(hand, `${root}${path}`, content);
    const errno = await placeFile(hand, { path: `${root}${path}`, content: Buffer.from(content), step: "last" });
    return errno === 0 ? undefined : errnoText(errno);
  };
  for await (const { path, content, sha256 } of source.readAll({ sessionId, storeId })) {
    const why = await put(path, content);
    if (why === undefined) agreed.set(path, sha256);
    else missing.push(`${path}: ${why}`);
  }
  if (writable) await writeAgreed(hand, root, agreed);
}

function problem({ storeId, path }: MountedMemory, why: string): RecipeProblem {
  return {
    type: "unknown_error",
    message: `memory store ${storeId} is not whole at ${path}: ${why}`,
    repositoryUrl: "",
  };
}
