/** A session's resources as the log tells them: given at creation, added and taken away by `session.updated`. */
import type { JsonObject } from "./events.ts";

/** What `session.updated` says of them. */
export interface ResourceChange {
  readonly removed_resource_ids?: readonly string[];
  readonly added_resources?: readonly JsonObject[];
}

/** The resources after a change; ids to remove that are not there, and ids to add that are, change nothing. */
export function changedResources<T extends readonly JsonObject[]>(
  resources: T,
  { removed_resource_ids: removed = [], added_resources: added = [] }: ResourceChange,
): T | JsonObject[] {
  const kept =
    removed.length === 0 ? resources : resources.filter((resource) => !removed.some((id) => id === resource.id));
  const fresh = added.filter((resource) => !kept.some(({ id }) => id === resource.id));
  return fresh.length === 0 ? kept : [...kept, ...fresh];
}

/** True when a hand that exists has to be told of the change: the files it is to have are others. */
export function changesMounts(before: readonly JsonObject[], after: readonly JsonObject[]): boolean {
  const files = (resources: readonly JsonObject[]) =>
    resources.filter(({ type }) => type === "file").map(({ file_id, mount_path }) => `${file_id} ${mount_path}`);
  return files(before).join("\n") !== files(after).join("\n");
}
