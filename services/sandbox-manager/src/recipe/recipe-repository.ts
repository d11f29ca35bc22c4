/** A repository of a recipe. */
export type RecipeRepository = {
  readonly url: string;
  /** Empty: not mounted, the agent clones it itself. */
  readonly mountPath: string;
  /** `refs/heads/<branch>`, a branch or a commit; empty: the default branch. */
  readonly checkout: string;
  /** Empty until it is resolved. Absent in records of earlier versions. */
  readonly commit?: string;
};

/** What of a recipe could not be had. */
export type RecipeProblem = { readonly type: string; readonly message: string; readonly repositoryUrl: string };
