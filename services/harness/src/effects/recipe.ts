/** What a hand is made from: the session's environment and the repositories it may reach. */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { type JsonObject, type LivingState, listOf, objectOf, stringOf } from "@manyhands/core";
import { RecipeSchema } from "@manyhands/protocol";

const managers = ["apt", "cargo", "gem", "go", "npm", "pip"] as const;

/** The recipe of a session. Secrets never stand in it: repositories are named, their tokens stay in vault-proxy. */
export function recipeOf(state: LivingState): MessageInitShape<typeof RecipeSchema> {
  const config = objectOf(state.environment.config);
  const packages = packagesOf(objectOf(config.packages));
  const hand = objectOf(config.hand);
  return {
    image: stringOf(hand.image),
    driver: stringOf(hand.driver),
    env: stringsOf(objectOf(hand.env)),
    restoreFiles: hand.restore_files === true,
    repositories: state.resources.flatMap(repositoryOf),
    mountedFiles: state.resources.flatMap(fileOf),
    mountedMemories: state.resources.flatMap(memoryOf),
    ...networkOf(objectOf(config.networking)),
    ...(packages === undefined ? {} : { packages }),
  };
}

/** What a session's hand is asked for by, in earnest and on a guess. */
export function handRequestOf(session: { readonly id: string; readonly state: LivingState; readonly epoch: number }) {
  return {
    sessionId: session.id,
    name: "default",
    recipe: create(RecipeSchema, recipeOf(session.state)),
    epoch: BigInt(session.epoch),
    filesAfter: [...(session.state.filesAfter ?? [])],
  };
}

/** Branches are named in full: a branch may have a name that looks like a commit. */
function repositoryOf(resource: JsonObject) {
  const url = stringOf(resource.url);
  if (resource.type !== "github_repository" || url === "") return [];
  const { type, name, sha } = objectOf(resource.checkout);
  const checkout = type === "branch" ? `refs/heads/${stringOf(name)}` : type === "commit" ? stringOf(sha) : "";
  return [{ url, mountPath: stringOf(resource.mount_path), checkout }];
}

function fileOf({ type, file_id, mount_path }: JsonObject) {
  return type === "file" ? [{ fileId: stringOf(file_id), path: stringOf(mount_path) }] : [];
}

function memoryOf({ type, memory_store_id, mount_path, access }: JsonObject) {
  if (type !== "memory_store") return [];
  return [{ storeId: stringOf(memory_store_id), path: stringOf(mount_path), writable: access === "read_write" }];
}

function networkOf({ type, allowed_hosts, allow_mcp_servers, allow_package_managers }: JsonObject) {
  if (type !== "limited" && type !== "unrestricted") return {};
  const network = {
    mode: type,
    allowedHosts: listOf(allowed_hosts).map(stringOf),
    allowMcpServers: allow_mcp_servers === true,
    allowPackageManagers: allow_package_managers === true,
  };
  return { network };
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
