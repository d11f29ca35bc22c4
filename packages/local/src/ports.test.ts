import { once } from "node:events";
import { createServer } from "node:net";
import { join } from "node:path";
import { tempDir } from "@manyhands/testkit";
import { expect, it } from "vitest";
import { choosePorts } from "./ports.ts";

it("gives the same ports at the next start, and others for what is taken", async () => {
  await using dir = await tempDir();
  const file = join(dir.path, "ports.json");
  const first = await choosePorts(file, ["a", "b", "c"]);
  expect(new Set(first.values()).size).toBe(3);
  expect(await choosePorts(file, ["a", "b", "c"])).toEqual(first);

  const taken = createServer().listen(first.get("b"), "127.0.0.1");
  await once(taken, "listening");
  const second = await choosePorts(file, ["a", "b", "c"]);
  taken.close();
  expect(second.get("a")).toBe(first.get("a"));
  expect(second.get("c")).toBe(first.get("c"));
  expect(second.get("b")).not.toBe(first.get("b"));
});

it("keeps the ports of names that are not asked for this time", async () => {
  await using dir = await tempDir();
  const file = join(dir.path, "ports.json");
  const both = await choosePorts(file, ["a", "harness-2"]);
  await choosePorts(file, ["a"]);
  expect(await choosePorts(file, ["a", "harness-2"])).toEqual(both);
});

it("gives different ports to two folders that choose at the same time", async () => {
  await using one = await tempDir();
  await using two = await tempDir();
  const [a, b] = await Promise.all([
    choosePorts(join(one.path, "ports.json"), ["x", "y"]),
    choosePorts(join(two.path, "ports.json"), ["x", "y"]),
  ]);
  expect(new Set([...a.values(), ...b.values()]).size).toBe(4);
});
