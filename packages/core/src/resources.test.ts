import { expect, test } from "vitest";
import type { JsonObject } from "./events.ts";
import { changedResources, changesMounts } from "./resources.ts";

const resources: JsonObject[] = [
  { id: "sesrsc_1", type: "github_repository" },
  { id: "sesrsc_2" },
  { type: "memory_store" },
];
const file = { id: "sesrsc_3", type: "file", file_id: "file_1", mount_path: "/mnt/session/uploads/file_1" };

test("resources are taken away by id, and an unknown id changes nothing", () => {
  const changed = changedResources(resources, { removed_resource_ids: ["sesrsc_1", "sesrsc_9"] });
  expect(changed).toEqual([{ id: "sesrsc_2" }, { type: "memory_store" }]);
  expect(changedResources(resources, { removed_resource_ids: [] })).toBe(resources);
  expect(changedResources(resources, {})).toBe(resources);
});

test("resources are added behind the others, and an id that is there changes nothing", () => {
  expect(changedResources(resources, { added_resources: [file] })).toEqual([...resources, file]);
  expect(changedResources(resources, { added_resources: [{ id: "sesrsc_2", type: "file" }] })).toBe(resources);
});

test("only files change what a hand has to be told", () => {
  const withFile = changedResources(resources, { added_resources: [file] });
  expect(changesMounts(resources, withFile)).toBe(true);
  expect(changesMounts(withFile, changedResources(withFile, { removed_resource_ids: ["sesrsc_1"] }))).toBe(false);
  expect(changesMounts(withFile, changedResources(withFile, { removed_resource_ids: ["sesrsc_3"] }))).toBe(true);
});
