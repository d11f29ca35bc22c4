/** What a hand is made from: the session's environment and the repositories it may reach. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import { type JsonObject, type LivingState, listOf, objectOf, stringOf } from "@manyhands/core";
import type { RecipeSchema } from "@manyhands/protocol";

const managers = ["apt", "cargo", "gem", "go", "npm", "pip"] as const;

/** The recipe of a session. Secrets never stand in it: repositories are named, their tokens stay in vault-proxy. */
export function recipeOf(state: LivingState): MessageInitShape<typeof RecipeSchema> {
  const config = objectOf(state.environment.config);
  const packages = packagesOf(objectOf(config.packages));
  return {
    image: stringOf(config.image),
    env: stringsOf(objectOf(config.env)),
    repositories: state.resources.flatMap(repositoryOf),
    ...(packages === undefined ? {} : { packages }),
  };
}

function repositoryOf(resource: JsonObject) {
  const url = stringOf(resource.url);
  return resource.type === "github_repository" && url !== "" ? [{ url }] : [];
}

function packagesOf(packages: JsonObject): Record<string, string[]> | undefined {
  const named = managers.map((manager) => [manager, listOf(packages[manager]).map(stringOf).filter(Boolean)] as const);
  const asked = named.filter(([, names]) => names.length > 0);
  return asked.length === 0 ? undefined : Object.fromEntries(asked);
}

function stringsOf(values: JsonObject): Record<string, string> {
  return Object.fromEntries(
    Object.entries(values).flatMap(([key, value]) => (typeof value === "string" ? [[key, value]] : [])),
  );
}
