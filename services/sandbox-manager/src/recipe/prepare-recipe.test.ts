import { expect, test } from "vitest";
import { createVirtualDriver } from "../drivers/virtual/virtual-driver.ts";
import type { Recipe } from "../hands/hand-record.ts";
import { memoryManager } from "../testing/memory-manager.ts";
import { prepareRecipe } from "./prepare-recipe.ts";

const driver = createVirtualDriver("manager_1", () => 0);
const limits = { memoryBytes: 1, cpuMillis: 1, workspaceBytes: 1, pids: 1 };
const plain: Recipe = { ...limits, image: "", env: {}, repositories: [], files: [], driver: "" };
const manager = memoryManager("manager_1", driver);
const prepare = (recipe: Recipe) =>
  prepareRecipe(manager, driver, { sessionId: "sesn_1", recipe, filesAfter: [] }, undefined);

test("packages are refused by their field where hands have no images", async () => {
  const packages = { apt: ["jq"], cargo: [], gem: [], go: [], npm: [], pip: [] };
  await expect(prepare({ ...plain, packages })).rejects.toMatchObject({
    kind: "invalid",
    details: { fieldViolations: [{ field: "recipe.packages", description: expect.stringContaining("virtual") }] },
  });
});

test("a repository that a driver cannot mount is told by its url, and the recipe says that it is not there", async () => {
  const url = "https://git.example.com/app.git";
  const { recipe, problems } = await prepare({
    ...plain,
    repositories: [{ url, mountPath: "/workspace/app", checkout: "" }],
  });
  expect(recipe.repositories).toEqual([{ url, mountPath: "", checkout: "" }]);
  expect(problems).toMatchObject([{ type: "repository_clone_error", repositoryUrl: url }]);
  expect(problems[0]?.message).toMatch(/virtual gives its hands neither repositories nor a way to git hosts/);
});
