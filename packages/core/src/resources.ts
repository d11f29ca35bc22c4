/** A session's resources as the log tells them: given at creation, taken away by `session.updated`. */
import type { JsonObject } from "./events.ts";

/** The resources without those of the given ids; ids that are not there change nothing. */
export function withoutResources<T extends readonly JsonObject[]>(
  resources: T,
  removedIds: readonly string[] | undefined,
): T | JsonObject[] {
  if (removedIds === undefined || removedIds.length === 0) return resources;
  return resources.filter((resource) => !removedIds.some((id) => id === resource.id));
}
