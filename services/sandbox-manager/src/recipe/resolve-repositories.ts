/** From what a recipe asks for to the very commits: the same recipe makes the same hand, and the record says which. */
import { toAppError } from "@manyhands/kit";
import type { TunnelDialer } from "../drivers/driver.ts";
import { type Refs, RepositoryError, readRefs } from "./read-refs.ts";
import type { RecipeProblem, RecipeRepository } from "./recipe-repository.ts";

/** Repositories with their commits; those that cannot be had lose their mount and are told. */
export type Resolved = {
  readonly repositories: readonly RecipeRepository[];
  readonly problems: readonly RecipeProblem[];
};

const COMMIT = /^[0-9a-f]{7,64}$/i;
const BRANCHES = "refs/heads/";

/** Resolves all repositories that are to be mounted. Never throws: a session goes on without a repository. */
export async function resolveRepositories(
  repositories: readonly RecipeRepository[],
  who: { readonly sessionId: string; readonly handId: string },
  dial: TunnelDialer | undefined,
): Promise<Resolved> {
  const answers = await Promise.all(
    repositories.map(async (repository): Promise<{ repository: RecipeRepository; problem?: RecipeProblem }> => {
      if (repository.mountPath === "") return { repository };
      try {
        if (!dial)
          throw new RepositoryError("repository_clone_error", "hands of this manager have no way to git hosts");
        const refs = await readRefs(repository.url, () => dial(who.sessionId, who.handId));
        return { repository: { ...repository, ...resolveCheckout(refs, repository) } };
      } catch (error) {
        return { repository: { ...repository, mountPath: "" }, problem: problemOf(repository, error) };
      }
    }),
  );
  return {
    repositories: answers.map(({ repository }) => repository),
    problems: answers.flatMap(({ problem }) => (problem ? [problem] : [])),
  };
}

/** What a failure with one repository is called. */
export function problemOf(repository: Pick<RecipeRepository, "url">, error: unknown): RecipeProblem {
  const type = error instanceof RepositoryError ? error.type : "repository_clone_error";
  const message = error instanceof RepositoryError ? error.message : toAppError(error).message;
  return { type, message: `${repository.url} is not mounted: ${message}`, repositoryUrl: repository.url };
}

/** The branch to stand on (empty: none, a detached commit) and the commit. */
export function resolveCheckout(
  refs: Refs,
  wanted: Pick<RecipeRepository, "checkout" | "commit">,
): { checkout: string; commit: string } {
  const { checkout, commit } = wanted;
  const name = checkout === "" ? refs.head : checkout.startsWith(BRANCHES) ? checkout : `${BRANCHES}${checkout}`;
  if (name === undefined) throw new RepositoryError("repository_checkout_error", "it has no commits yet");
  const tip = refs.byName.get(name);
  if (tip !== undefined) return { checkout: name, commit: commit || tip };
  if (COMMIT.test(checkout)) return { checkout: "", commit: commit || checkout.toLowerCase() };
  if (commit) return { checkout: "", commit };
  throw new RepositoryError("repository_checkout_error", `it has no branch ${name.slice(BRANCHES.length)}`);
}
