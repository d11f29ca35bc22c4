import { expect, test } from "vitest";
import { memoryMountPath, mountPathClash, mountPathProblem } from "./mounts.ts";

test("files appear below three folders and nowhere else", () => {
  for (const path of ["/mnt/session/uploads/a", "/workspace/data/ü 1.csv", "/home/hand/.config/x"])
    expect(mountPathProblem(path), path).toBeUndefined();
  for (const path of [
    "/etc/passwd",
    "/workspace",
    "/workspacex/a",
    "/mnt/session/outputs/a",
    "/mnt/session/uploads",
    "/",
  ])
    expect(mountPathProblem(path), path).toBeDefined();
});

test("paths that could lead elsewhere are refused", () => {
  const bad = [
    "workspace/a",
    "",
    "/workspace/../etc/passwd",
    "/workspace/./a",
    "/workspace//a",
    "/workspace/a/",
    "/workspace/a\u0000b",
    "/workspace/a\nb",
    "/workspace/\u202ea",
    "/workspace/\ud800",
    `/workspace/${"a".repeat(201)}`,
    `/workspace/${"a/".repeat(40)}a`,
    `/workspace/${"aaaaaaaaa/".repeat(110)}a`,
  ];
  for (const path of bad) expect(mountPathProblem(path), JSON.stringify(path)).toBeDefined();
});

test("a path clashes with itself and with what lies in it", () => {
  expect(mountPathClash(["/a/b", "/a/b-c", "/a/bc"])).toBeUndefined();
  expect(mountPathClash(["/a/b", "/a/b-c", "/a/b/c"])).toEqual(["/a/b", "/a/b/c"]);
  expect(mountPathClash(["/a", "/b", "/a"])).toEqual(["/a", "/a"]);
});

test("a memory store's folder is a plain name", () => {
  expect(memoryMountPath("Team Notes (2026)")).toBe("/mnt/memory/team-notes-2026");
  expect(memoryMountPath("../../etc")).toBe("/mnt/memory/etc");
  expect(memoryMountPath("日本")).toBe("/mnt/memory/store");
});
