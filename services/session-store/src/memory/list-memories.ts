/** Pages of memories by path: with a depth, what lies deeper is told as folders. Pure. */
import type { Memory, MemoryIndex } from "@manyhands/protocol";

/** A memory or a folder, with the key by which the page goes on. */
export type Listed =
  | { readonly key: string; readonly memory: Memory }
  | { readonly key: string; readonly prefix: string };

/** At most `limit` after a key; `more` when there are others behind. */
export function listMemories(
  { memories }: Pick<MemoryIndex, "memories">,
  query: { readonly prefix: string; readonly depth: number; readonly afterKey: string; readonly limit: number },
): { readonly items: Listed[]; readonly more: boolean } {
  const { prefix, depth, afterKey, limit } = query;
  const all = new Map<string, Listed>();
  for (const memory of memories) {
    if (!memory.path.startsWith(prefix)) continue;
    const rest = memory.path.slice(Math.max(prefix.length, 1));
    const slash = rest.indexOf("/");
    const folder = memory.path.slice(0, memory.path.length - rest.length + slash + 1);
    if (depth === 1 && slash >= 0) all.set(folder, { key: folder, prefix: folder });
    else all.set(memory.path, { key: memory.path, memory });
  }
  const sorted = [...all.values()].filter(({ key }) => key > afterKey).sort((a, b) => (a.key < b.key ? -1 : 1));
  return { items: sorted.slice(0, limit), more: sorted.length > limit };
}
