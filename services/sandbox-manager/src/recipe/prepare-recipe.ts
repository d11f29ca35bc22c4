/** What has to be known before a hand can be made: the commits of its repositories, and the files it begins with. */
import { AppError } from "@manyhands/kit";
import type { Driver } from "../drivers/driver.ts";
import type { HandRecord, Recipe } from "../hands/hand-record.ts";
import type { Manager } from "../hands/manager.ts";
import { awaitSnapshots } from "../snapshots/await-snapshots.ts";
import type { Moment } from "../snapshots/snapshots.ts";
import type { RecipeProblem, RecipeRepository } from "./recipe-repository.ts";
import { resolveRepositories } from "./resolve-repositories.ts";

/** A recipe that makes the same hand each time, and where that hand's files come from. */
export type PreparedRecipe = {
  readonly recipe: Recipe;
  readonly problems: readonly RecipeProblem[];
  /** Undefined: the files are those of the recipe. */
  readonly moment: Moment | undefined;
};

type Preparing = Pick<Manager, "snapshots" | "dial" | "registry" | "peers" | "clock" | "logger" | "entry">;

type Asked = { readonly sessionId: string; readonly recipe: Recipe; readonly filesAfter: readonly string[] };

/** `before` is the hand of that name whose place the new one takes. Throws INVALID for what the driver cannot do. */
export async function prepareRecipe(
  manager: Preparing,
  driver: Driver,
  asked: Asked,
  before: HandRecord | undefined,
): Promise<PreparedRecipe> {
  const { recipe, sessionId } = asked;
  if (recipe.packages && !driver.hasImages) {
    const description = `the driver ${driver.name} has no images to install packages into`;
    throw AppError.invalid([{ field: "recipe.packages", description }]);
  }
  const moment = await momentOf(manager, asked, before);
  const pinned = recipe.repositories.map((one) => pin(one, moment?.repositories ?? []));
  const { repositories, problems } = driver.mounts
    ? await resolveRepositories(pinned, { sessionId, handId: "" }, manager.dial)
    : notMounted(pinned, driver.name);
  return { recipe: { ...recipe, repositories }, problems, moment };
}

async function momentOf(
  manager: Preparing,
  { filesAfter, recipe, sessionId }: Asked,
  before: HandRecord | undefined,
): Promise<Moment | undefined> {
  const { snapshots } = manager;
  if (!snapshots) return undefined;
  if (before?.state === "lost" && recipe.restoreFiles)
    return snapshots.latest(before.filesSessionId ?? sessionId, before.handId);
  if (before !== undefined || filesAfter.length === 0) return undefined;
  await awaitSnapshots(manager, filesAfter);
  return snapshots.find(filesAfter);
}

/** The files of a moment differ from those of certain commits, and from no others. */
function pin(repository: RecipeRepository, former: readonly RecipeRepository[]): RecipeRepository {
  const same = former.find(({ url, mountPath }) => url === repository.url && mountPath === repository.mountPath);
  return same?.commit ? { ...repository, checkout: same.checkout, commit: same.commit } : repository;
}

function notMounted(repositories: readonly RecipeRepository[], driver: string) {
  const problems = repositories
    .filter(({ mountPath }) => mountPath !== "")
    .map(({ url }) => ({
      type: "repository_clone_error",
      message: `${url} is not in the hand: the driver ${driver} gives its hands neither repositories nor a way to git hosts`,
      repositoryUrl: url,
    }));
  return { repositories: repositories.map((one) => ({ ...one, mountPath: "" })), problems };
}
