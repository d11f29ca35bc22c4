import { createHash } from "node:crypto";
import type { Recipe } from "./hand-record.ts";

/**
 * Names a recipe by its content: equal recipes, equal keys, whatever the order of their maps. Files and memories are brought
 * when a session gets the hand, so they make no other hand.
 */
export function recipeKey({ mountedFiles: _, mountedMemories: __, ...recipe }: Recipe): string {
  return createHash("sha256")
    .update(JSON.stringify(sorted(recipe)))
    .digest("hex")
    .slice(0, 32);
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  return Object.entries(value)
    .filter(([, field]) => field !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, field]) => [name, sorted(field)]);
}
