/** One step of bringing a hand's memory folder and its store together. */
import { AppError, toAppError } from "@manyhands/kit";
import type { Hand } from "../drivers/driver.ts";
import type { GivenStore, Memories } from "./memories.ts";
import { changeFile, type SeenFile } from "./memory-folder.ts";
import type { Step } from "./merge-memories.ts";

/** Where the hand's own text of a memory is kept that somebody else changed too. */
const ASIDE = "/workspace/.memory-conflicts";

/** One writable folder of a hand. */
export type Watched = {
  readonly storeId: string;
  readonly root: string;
  /** What both sides had in common; undefined before the first look. */
  agreed: Map<string, string> | undefined;
  seen: ReadonlyMap<string, SeenFile>;
  /** When the store was last looked at. */
  readAtMs: number;
  /** Nothing is kept any more. */
  isClosed: boolean;
  /** `agreed` is not noted in the hand yet. */
  isDirty: boolean;
  /** What was refused and told, by path; not tried again until it is another. */
  readonly refused: Map<string, string>;
};

/** What a step is taken with. */
export type StepContext = {
  readonly hand: Hand;
  readonly memories: Memories;
  readonly store: GivenStore;
  readonly watched: Watched;
  readonly folder: ReadonlyMap<string, SeenFile>;
  /** Words for the model. */
  readonly notes: string[];
  /** Nobody looks again after this: who is beaten now, is refused. */
  readonly isLast: boolean;
};

/** Does it and notes what is agreed on. `beaten`: the store is not as it was looked at. */
export async function takeStep(context: StepContext, step: Step): Promise<"done" | "beaten"> {
  const { watched, folder } = context;
  const { path } = step;
  const asked = [step.kind, folder.get(path)?.sha256, "memory" in step ? step.memory.sha256 : ""].join(" ");
  if (watched.refused.get(path) === asked) return "done";
  const refuse = (why: string) => {
    watched.refused.set(path, asked);
    context.notes.push(`${watched.root}${path} is not the same in the memory store: ${why}`);
  };
  try {
    const why = await perform(context, step);
    if (why !== undefined) refuse(why);
    else watched.isDirty = true;
    return "done";
  } catch (thrown) {
    const error = toAppError(thrown);
    const isBeaten = error.kind === "conflict" || error.reason === "MEMORY_NOT_FOUND";
    if (isBeaten && !context.isLast) return "beaten";
    if (!isBeaten && error.kind !== "invalid") throw error;
    refuse(error.message);
    return "done";
  }
}

/** Answers why it cannot be, in words, where that is no error of the store. */
async function perform(context: StepContext, step: Step): Promise<string | undefined> {
  const { hand, memories, store, watched, folder } = context;
  const { path } = step;
  const file = folder.get(path);
  const agree = (at: string, sha256: string | undefined): undefined => {
    if (sha256 === undefined) watched.agreed?.delete(at);
    else watched.agreed?.set(at, sha256);
  };
  switch (step.kind) {
    case "agree":
      return agree(path, file?.sha256);
    case "remove":
      await memories.remove(store, step.memory);
      return agree(path, undefined);
    case "move":
      await memories.update(store, step.memory, { path });
      agree(step.memory.path, undefined);
      return agree(path, step.memory.sha256);
    case "update":
      await memories.update(store, step.memory, { content: textOf(file) });
      return agree(path, file?.sha256);
    case "create":
      await memories.create(store, path, textOf(file));
      return agree(path, file?.sha256);
    case "drop": {
      const why = await changeFile(hand, `${watched.root}${path}`, undefined);
      if (why === undefined) agree(path, undefined);
      return why;
    }
    case "bring":
      return bring(context, step, (sha256) => agree(path, sha256));
  }
}

/** The folders above a path. */
function partsOf(path: string): string[] {
  const names = path.split("/").slice(1, -1);
  return names.map((_, index) => `/${names.slice(0, index + 1).join("/")}`);
}

/** What a step sends was read for it. */
function textOf(file: SeenFile | undefined): string {
  if (file?.content === undefined) throw AppError.internal(new Error("a changed file was not read"));
  return file.content;
}

/** The store's text comes into the folder; the hand's own, where it had one, is kept first. */
async function bring(
  { hand, memories, store, watched: { root }, folder, notes }: StepContext,
  { path, memory, lost }: Step & { readonly kind: "bring" },
  agree: (sha256: string) => void,
): Promise<string | undefined> {
  if (partsOf(path).some((part) => folder.get(part)?.unfit !== undefined)) return "a part of its path is a link";
  const { content, sha256 } = await memories.read(store, memory.id);
  const aside = `${ASIDE}/${root.slice(root.lastIndexOf("/") + 1)}${path}`;
  if (lost === "changed") {
    const why = await changeFile(hand, aside, textOf(folder.get(path)));
    if (why !== undefined) return `somebody else changed it too, and your text finds no place: ${why}`;
  }
  const why = await changeFile(hand, `${root}${path}`, content);
  if (why !== undefined) return why;
  agree(sha256);
  if (lost === "changed")
    notes.push(
      `${root}${path}: somebody else changed this memory too. It holds their text now; yours is in ${aside}. Merge them and write it again`,
    );
  if (lost === "removed")
    notes.push(`${root}${path}: somebody else changed this memory, so it was not removed and is there again`);
  return undefined;
}
