/**
 * What has to be done so that a hand's folder and its memory store hold the same again: a merge of three, pure.
 *
 * W1 What only one side changed goes to the other side.
 * W2 What both changed differently stays in the store as it is there; the hand's own is kept beside, and told.
 * W3 A removal never takes away what the other side changed meanwhile.
 */
import type { KnownMemory } from "./memories.ts";

/** SHA-256 of each content by path, as both sides had it when they last were the same. */
export type Agreed = ReadonlyMap<string, string>;

/** A file of the folder; `unfit` says why it can be no memory. */
export type FolderFile = { readonly sha256: string; readonly unfit?: string };

/** One thing to do. `agree`: both sides are the same already. */
export type Step =
  | { readonly kind: "agree"; readonly path: string }
  | { readonly kind: "remove" | "update"; readonly memory: KnownMemory; readonly path: string }
  | { readonly kind: "move"; readonly memory: KnownMemory; readonly path: string }
  | { readonly kind: "create"; readonly path: string }
  | { readonly kind: "drop"; readonly path: string }
  | {
      readonly kind: "bring";
      readonly memory: KnownMemory;
      readonly path: string;
      /** What the hand had there: changed by both, or removed by the hand and changed in the store. */
      readonly lost?: "changed" | "removed";
    };

/** Removals first, so that a file may become a folder; what others wrote comes last. */
const ORDER: readonly Step["kind"][] = ["agree", "remove", "move", "update", "create", "drop", "bring"];

/** The steps, in the order in which they are to be done. */
export function mergeSteps(
  agreed: Agreed,
  folder: ReadonlyMap<string, FolderFile>,
  store: ReadonlyMap<string, KnownMemory>,
): Step[] {
  const paths = new Set([...agreed.keys(), ...folder.keys(), ...store.keys()]);
  const steps = [...paths].flatMap((path) => stepAt(path, agreed.get(path), folder.get(path), store.get(path)) ?? []);
  return withMoves(steps, folder).sort((a, b) => ORDER.indexOf(a.kind) - ORDER.indexOf(b.kind));
}

/** True when the folder is not as it was agreed on. */
export function isChanged(agreed: Agreed, folder: ReadonlyMap<string, FolderFile>): boolean {
  const same = [...folder].filter(([path, { sha256, unfit }]) => unfit === undefined && agreed.get(path) === sha256);
  return same.length !== agreed.size || [...folder.values()].filter(({ unfit }) => !unfit).length !== same.length;
}

function stepAt(
  path: string,
  was: string | undefined,
  mine: FolderFile | undefined,
  memory: KnownMemory | undefined,
): Step | undefined {
  if (mine?.unfit !== undefined) return undefined;
  const here = mine?.sha256;
  const there = memory?.sha256;
  if (here === there) return was === here ? undefined : { kind: "agree", path };
  if (here === was) return memory ? { kind: "bring", memory, path } : { kind: "drop", path };
  if (!memory) return { kind: "create", path };
  if (there === was) return { kind: mine ? "update" : "remove", memory, path };
  return { kind: "bring", memory, path, lost: mine ? "changed" : "removed" };
}

/** A memory that went from one path to another is still that memory. */
function withMoves(steps: readonly Step[], folder: ReadonlyMap<string, FolderFile>): Step[] {
  const gone = steps.flatMap((step) => (step.kind === "remove" ? [step] : []));
  const moved = new Set<Step>();
  const all = steps.map((step): Step => {
    if (step.kind !== "create") return step;
    const from = gone.find((one) => !moved.has(one) && one.memory.sha256 === folder.get(step.path)?.sha256);
    if (!from) return step;
    moved.add(from);
    return { kind: "move", memory: from.memory, path: step.path };
  });
  return all.filter((step) => !moved.has(step));
}
