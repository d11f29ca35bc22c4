/** Memory stores that a session is given: there, not archived, each in a folder of its own. */
import { MAX_MEMORY_STORES, memoryMountPath } from "@manyhands/core";
import { AppError, type FieldViolation, toAppError } from "@manyhands/kit";
import type { Deps } from "./deps.ts";
import type { Call } from "./http/call.ts";
import type { MemoryStoreInput } from "./schemas/session.ts";
import type { MemoryStoreResource } from "./sdk-types.ts";

/** A store that is to be given; its field in the request names it. */
export type GivenStore = { readonly input: MemoryStoreInput; readonly field: string };

/** The resources, with the store's name and description as they are now. Throws AppError `invalid` naming every field. */
export async function memoryStoreResources(
  { memories }: Pick<Deps, "memories">,
  call: Call,
  stores: readonly GivenStore[],
): Promise<MemoryStoreResource[]> {
  if (stores.length > MAX_MEMORY_STORES) {
    const description = `a session has at most ${MAX_MEMORY_STORES} memory stores`;
    throw AppError.invalid([{ field: "resources", description }]);
  }
  const problems: FieldViolation[] = [];
  const refuse = (field: string, description: string) => {
    problems.push({ field: `${field}.memory_store_id`, description });
    return [];
  };
  const read = async ({ input, field }: GivenStore): Promise<MemoryStoreResource[]> => {
    const { memory_store_id, access, instructions } = input;
    try {
      const request = { workspaceId: call.caller.workspaceId, storeId: memory_store_id };
      const { store } = await memories.getMemoryStore(request, call.rpc);
      if (store === undefined || store.archivedAt) return refuse(field, `${memory_store_id} is archived`);
      const { name, description } = store;
      const words = { name, description, mount_path: memoryMountPath(name), instructions: instructions ?? null };
      return [{ type: "memory_store", memory_store_id, access: access ?? "read_write", ...words }];
    } catch (thrown) {
      if (toAppError(thrown).kind === "notFound") return refuse(field, `${memory_store_id} does not exist`);
      throw thrown;
    }
  };
  const resources = (await Promise.all(stores.map(read))).flat();
  const paths = resources.map(({ mount_path }) => mount_path);
  const twice = paths.find((path, index) => paths.indexOf(path) !== index);
  if (twice) problems.push({ field: "resources", description: `two memory stores would both be at ${twice}` });
  if (problems.length > 0) throw AppError.invalid(problems);
  return resources;
}
