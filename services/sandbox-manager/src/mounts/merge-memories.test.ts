import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { KnownMemory } from "./memories.ts";
import { type FolderFile, isChanged, mergeSteps, type Step } from "./merge-memories.ts";

const memoryOf = (path: string, sha256: string): KnownMemory => ({ id: `mem of ${path}`, path, sha256 });
const storeOf = (contents: Record<string, string>) =>
  new Map(Object.entries(contents).map(([path, sha256]) => [path, memoryOf(path, sha256)]));
const folderOf = (contents: Record<string, string>) =>
  new Map(Object.entries(contents).map(([path, sha256]): [string, FolderFile] => [path, { sha256 }]));
const told = (steps: readonly Step[]) =>
  steps.map((step) => [step.kind, ...("lost" in step && step.lost ? [step.lost] : [])].join(" "));

describe("one path, as both agreed on it, in the folder and in the store", () => {
  const rows: [string | undefined, string | undefined, string | undefined, string[]][] = [
    ["a", "a", "a", []],
    ["a", "b", "a", ["update"]],
    ["a", "a", "b", ["bring"]],
    ["a", "b", "b", ["agree"]],
    ["a", "b", "c", ["bring changed"]],
    ["a", undefined, "a", ["remove"]],
    ["a", "a", undefined, ["drop"]],
    ["a", undefined, undefined, ["agree"]],
    ["a", undefined, "b", ["bring removed"]],
    ["a", "b", undefined, ["create"]],
    [undefined, "a", undefined, ["create"]],
    [undefined, undefined, "a", ["bring"]],
    [undefined, "a", "a", ["agree"]],
    [undefined, "a", "b", ["bring changed"]],
    [undefined, undefined, undefined, []],
  ];
  test.each(rows)("%s, %s, %s: %j", (was, mine, theirs, expected) => {
    const of = (sha256: string | undefined): Record<string, string> => (sha256 === undefined ? {} : { "/p": sha256 });
    const agreed = new Map(Object.entries(of(was)));
    expect(told(mergeSteps(agreed, folderOf(of(mine)), storeOf(of(theirs))))).toEqual(expected);
    expect(isChanged(agreed, folderOf(of(mine)))).toBe(was !== mine);
  });
});

test("a file that went elsewhere is moved, a copy of one that went is made once", () => {
  const agreed = new Map([["/from", "a"]]);
  const steps = mergeSteps(agreed, folderOf({ "/to": "a", "/two": "a" }), storeOf({ "/from": "a" }));
  expect(steps).toEqual([
    { kind: "move", memory: memoryOf("/from", "a"), path: "/to" },
    { kind: "create", path: "/two" },
  ]);
});

test("what can be no memory is left alone on both sides", () => {
  const folder = new Map([["/a", { sha256: "x", unfit: "too large" }]]);
  expect(mergeSteps(new Map([["/a", "a"]]), folder, storeOf({ "/a": "b" }))).toEqual([]);
  expect(isChanged(new Map(), folder)).toBe(false);
});

test("removals come first and what others wrote comes last", () => {
  const agreed = new Map([["/file", "a"]]);
  const steps = mergeSteps(agreed, folderOf({ "/file/in": "b" }), storeOf({ "/file": "a", "/new": "n" }));
  expect(told(steps)).toEqual(["remove", "create", "bring"]);
});

test("after the steps both sides are the same, and no text that one of them wrote is lost untold", () => {
  const contents = fc.dictionary(fc.constantFrom("/a", "/b", "/c", "/d"), fc.constantFrom("1", "2", "3"));
  fc.assert(
    fc.property(contents, contents, contents, (was, mine, theirs) => {
      const agreed = new Map(Object.entries(was));
      const [folder, store] = [folderOf(mine), storeOf(theirs)];
      const aside: string[] = [];
      const files = new Map<string, string>(Object.entries(mine));
      const memories = new Map<string, string>(Object.entries(theirs));
      for (const step of mergeSteps(agreed, folder, store)) {
        if (step.kind === "remove") memories.delete(step.path);
        if (step.kind === "move") memories.delete(step.memory.path);
        if (step.kind === "update" || step.kind === "create" || step.kind === "move")
          memories.set(step.path, folder.get(step.path)?.sha256 ?? "");
        if (step.kind === "drop") files.delete(step.path);
        if (step.kind === "bring") {
          if (step.lost === "changed") aside.push(files.get(step.path) ?? "");
          files.set(step.path, step.memory.sha256);
        }
      }
      expect(files).toEqual(memories);
      for (const [path, text] of Object.entries(mine))
        if (agreed.get(path) !== text) expect([files.get(path), ...aside]).toContain(text);
      for (const [path, text] of Object.entries(theirs))
        if (agreed.get(path) !== text) expect(memories.get(path)).toBe(text);
    }),
  );
});
