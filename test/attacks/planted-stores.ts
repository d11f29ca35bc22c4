/** Memory stores of a session under attack, and of one that is none of its business. */
import { createHash } from "node:crypto";
import { AppError, newId } from "@manyhands/kit";
import type { Overrides } from "@manyhands/sandbox-manager";

/** What a recipe says of them. */
export type Mounted = readonly { readonly storeId: string; readonly path: string; readonly writable: boolean }[];

/** Contents by path, by name of the store; the attacker's session is given `notes` and `rules`. */
export interface PlantedStores {
  readonly memories: NonNullable<Overrides["memories"]>;
  readonly mounted: Mounted;
  readonly notes: Map<string, string>;
  readonly rules: Map<string, string>;
  /** Of another session. */
  readonly foreign: Map<string, string>;
}

/** The rule that nobody may change. */
export const RULE = "nobody changes this\n";

/** Stores with session-store's rules about who may change what; it refuses in words where the manager should not ask. */
export function createPlantedStores(): PlantedStores {
  const notes = new Map([["/note.md", "a note\n"]]);
  const rules = new Map([["/rule.md", RULE]]);
  const foreign = new Map([["/secret.md", "a secret of others\n"]]);
  const ids = { notes: newId("memstore"), rules: newId("memstore"), foreign: newId("memstore") };
  const all = new Map([
    [ids.notes, notes],
    [ids.rules, rules],
    [ids.foreign, foreign],
  ]);
  const contentsOf = (storeId: string) => {
    const found = all.get(storeId);
    if (!found || storeId === ids.foreign) throw AppError.notFound("memory store", storeId);
    return found;
  };
  const changing = (storeId: string) => {
    if (storeId !== ids.notes) throw AppError.denied("MEMORY_READ_ONLY", "it may only be read");
    return notes;
  };
  return {
    notes,
    rules,
    foreign,
    mounted: [
      { storeId: ids.notes, path: "/mnt/memory/notes", writable: true },
      { storeId: ids.rules, path: "/mnt/memory/rules", writable: false },
    ],
    memories: {
      async *readAll({ storeId }) {
        for (const [path, content] of contentsOf(storeId)) yield memoryOf(path, content);
      },
      async list({ storeId }) {
        return new Map([...contentsOf(storeId)].map(([path, content]) => [path, memoryOf(path, content)]));
      },
      async read({ storeId }, path) {
        const content = contentsOf(storeId).get(path);
        if (content === undefined) throw AppError.notFound("memory", path);
        return memoryOf(path, content);
      },
      async create({ storeId }, path, content) {
        changing(storeId).set(path, content);
      },
      async update({ storeId }, memory, { content, path }) {
        const contents = changing(storeId);
        const before = contents.get(memory.path) ?? "";
        contents.delete(memory.path);
        contents.set(path ?? memory.path, content ?? before);
      },
      async remove({ storeId }, memory) {
        changing(storeId).delete(memory.path);
      },
    },
  };
}

/** The path is the id here. */
function memoryOf(path: string, content: string) {
  return { id: path, path, content, sha256: createHash("sha256").update(content).digest("hex") };
}
