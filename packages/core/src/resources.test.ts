import { expect, test } from "vitest";
import type { JsonObject } from "./events.ts";
import { withoutResources } from "./resources.ts";

test("resources are taken away by id, and an unknown id changes nothing", () => {
  const resources: JsonObject[] = [
    { id: "sesrsc_1", type: "github_repository" },
    { id: "sesrsc_2" },
    { type: "memory_store" },
  ];
  expect(withoutResources(resources, ["sesrsc_1", "sesrsc_9"])).toEqual([{ id: "sesrsc_2" }, { type: "memory_store" }]);
  expect(withoutResources(resources, [])).toBe(resources);
  expect(withoutResources(resources, undefined)).toBe(resources);
});
