import { expect, test } from "vitest";
import { candidates, ENTRY_MAX_AGE_MS, unfit } from "./choose-manager.ts";
import type { ManagerEntry } from "./manager-registry.ts";

const NOW = 1_000_000;

function entry(managerId: string, overrides: Partial<ManagerEntry> = {}): ManagerEntry {
  const address = `${managerId}:1`;
  return { managerId, address, drivers: ["docker"], labels: {}, hands: 0, capacity: 20, atMs: NOW, ...overrides };
}

function order(self: ManagerEntry, others: readonly ManagerEntry[], labels: Record<string, string> = {}, driver = "") {
  return candidates(self, others, { driver, labels }, NOW).map(({ managerId }) => managerId);
}

test("a manager with room makes its own hands, until another one is emptier by a quarter", () => {
  const idle = entry("idle");
  expect(order(entry("self", { hands: 4 }), [idle])).toEqual(["self", "idle"]);
  expect(order(entry("self", { hands: 6 }), [idle])).toEqual(["idle", "self"]);
});

test("a full manager is not asked, and sends on", () => {
  expect(order(entry("self", { hands: 20 }), [entry("other", { hands: 19 })])).toEqual(["other"]);
  expect(order(entry("self", { hands: 20 }), [entry("other", { hands: 20 })])).toEqual([]);
});

test("labels and drivers decide before load does", () => {
  const gpu = entry("gpu", { hands: 19, labels: { gpu: "yes" } });
  expect(order(entry("self"), [gpu], { gpu: "yes" })).toEqual(["gpu"]);
  expect(order(entry("self"), [entry("b", { drivers: ["docker", "virtual"] })], {}, "virtual")).toEqual(["b"]);
  expect(unfit(entry("self"), { driver: "", labels: { gpu: "yes" } })).toBe("it is not labelled gpu=yes");
});

test("a manager that has said nothing for long is not asked", () => {
  const silent = entry("silent", { atMs: NOW - ENTRY_MAX_AGE_MS });
  expect(order(entry("self", { hands: 20 }), [silent])).toEqual([]);
});

test("the entry that this manager's predecessor left at the same address is not asked: it would be this one", () => {
  const predecessor = entry("self-before", { address: "self:1" });
  expect(order(entry("self", { hands: 10 }), [predecessor])).toEqual(["self"]);
});
