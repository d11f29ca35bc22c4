/** github_repository resources: the public part is stored with the session, the token goes to the vault-proxy only. */
import type { RepositoryInput } from "../schemas/session.ts";
import type { RepositoryResource } from "../sdk-types.ts";

/** The public part, under the id and time given. */
export function toRepositoryResource(input: RepositoryInput, id: string, now: string): RepositoryResource {
  return {
    id,
    type: "github_repository",
    url: input.url,
    mount_path: input.mount_path ?? `/workspace/${repositoryName(input.url)}`,
    ...(input.checkout ? { checkout: input.checkout } : {}),
    created_at: now,
    updated_at: now,
  };
}

/** Last path segment without `.git`; what `git clone` would call the directory. */
function repositoryName(url: string): string {
  const last = new URL(url).pathname.split("/").findLast((segment) => segment !== "") ?? "repository";
  const name = last.replace(/\.git$/, "");
  return name === "" || name === "." || name === ".." ? "repository" : name;
}
