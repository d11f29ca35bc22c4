/** A recipe between wire and record, and the rules it is checked by. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  isId,
  MAX_MEMORY_STORES,
  MAX_MOUNTED_FILES,
  MEMORY_FOLDER,
  mountPathClash,
  mountPathProblem,
} from "@manyhands/core";
import type { FieldViolation } from "@manyhands/kit";
import type {
  MountedFile,
  Network,
  RecipeSchema,
  Repository,
  MountedMemory as WireMemory,
  Packages as WirePackages,
  Recipe as WireRecipe,
} from "@manyhands/protocol";
import type { Packages } from "../drivers/driver.ts";
import type { MountedMemory, Recipe } from "../hands/hand-record.ts";
import type { ManagerLimits } from "../hands/manager.ts";
import { isPackageName, PACKAGE_MANAGERS } from "../recipe/package-script.ts";

const MAX_ENV = 64;
const MAX_LABELS = 16;
const MAX_FILES_BYTES = 4 * 1024 * 1024;
const ENV_NAME = /^[A-Za-z_][A-Za-z0-9_]{0,127}$/;
const MAX_ENV_CHARS = 4096;
const MAX_PACKAGES = 256;
const MAX_REPOSITORIES = 32;
const NETWORK_MODES: readonly string[] = ["none", "limited", "unrestricted"];
const MEMORY_PATH = /^\/mnt\/memory\/[a-z0-9-]{1,255}$/;
const MOUNT_PATH = /^(?:\/[A-Za-z0-9._ -]+)+$/;
/** Places of a hand that must stay what they are; `/workspace` and everything else may get repositories below them. */
const KEPT_PATHS = ["/.manyhands", "/proc", "/sys", "/dev", "/bin", "/sbin", "/lib", "/lib64", "/usr", "/etc"];

/** What is wrong with a recipe, by field. */
export function recipeProblems(recipe: WireRecipe | undefined, limits: ManagerLimits): FieldViolation[] {
  if (!recipe) return [];
  const problems: FieldViolation[] = [];
  problems.push(...packageProblems(recipe.packages), ...repositoryProblems(recipe.repositories));
  problems.push(...mountProblems(recipe.mountedFiles), ...memoryProblems(recipe.mountedMemories));
  if (recipe.network && !NETWORK_MODES.includes(recipe.network.mode))
    problems.push({ field: "recipe.network.mode", description: `must be one of ${NETWORK_MODES.join(", ")}` });
  const env = Object.entries(recipe.env);
  if (env.length > MAX_ENV) problems.push({ field: "recipe.env", description: `must have at most ${MAX_ENV} entries` });
  for (const [name, value] of env) {
    if (!ENV_NAME.test(name))
      problems.push({ field: `recipe.env.${name}`, description: "must be a name of letters, digits and _" });
    if (value.includes("\0") || value.length > MAX_ENV_CHARS)
      problems.push({
        field: `recipe.env.${name}`,
        description: `must have at most ${MAX_ENV_CHARS} characters and no NUL`,
      });
  }
  if (Object.keys(recipe.managerLabels).length > MAX_LABELS)
    problems.push({ field: "recipe.manager_labels", description: `must have at most ${MAX_LABELS} entries` });
  const fileBytes = recipe.files.reduce((sum, file) => sum + file.content.length, 0);
  if (fileBytes > MAX_FILES_BYTES)
    problems.push({ field: "recipe.files", description: `must have at most ${MAX_FILES_BYTES} bytes in all` });
  const most: readonly [string, number, number][] = [
    ["memory_bytes", Number(recipe.limits?.memoryBytes ?? 0), limits.handMax.memoryBytes],
    ["cpu_millis", recipe.limits?.cpuMillis ?? 0, limits.handMax.cpuMillis],
    ["workspace_bytes", Number(recipe.limits?.workspaceBytes ?? 0), limits.handMax.workspaceBytes],
    ["pids", recipe.limits?.pids ?? 0, limits.handMax.pids],
  ];
  for (const [field, asked, max] of most) {
    if (asked > max) problems.push({ field: `recipe.limits.${field}`, description: `must be at most ${max}` });
  }
  return problems;
}

/** A checked recipe in our terms; every unset limit is the manager's. */
export function recipeFrom(recipe: WireRecipe | undefined, limits: ManagerLimits): Recipe {
  const asked = recipe?.limits;
  return {
    image: recipe?.image ?? "",
    memoryBytes: Number(asked?.memoryBytes ?? 0) || limits.hand.memoryBytes,
    cpuMillis: asked?.cpuMillis || limits.hand.cpuMillis,
    workspaceBytes: Number(asked?.workspaceBytes ?? 0) || limits.hand.workspaceBytes,
    pids: asked?.pids || limits.hand.pids,
    env: { ...recipe?.env },
    repositories: (recipe?.repositories ?? []).map(({ url, mountPath, checkout, commit }) => ({
      url,
      mountPath,
      checkout,
      ...(commit === "" ? {} : { commit }),
    })),
    files: (recipe?.files ?? []).map(({ path, content, mode }) => ({
      path,
      contentBase64: Buffer.from(content).toString("base64"),
      mode,
    })),
    ...(recipe?.mountedFiles.length
      ? { mountedFiles: recipe.mountedFiles.map(({ fileId, path }) => ({ fileId, path })) }
      : {}),
    ...(recipe?.mountedMemories.length ? { mountedMemories: recipe.mountedMemories.map(memoryFrom) } : {}),
    driver: recipe?.driver ?? "",
    managerLabels: { ...recipe?.managerLabels },
    ...packagesFrom(recipe?.packages),
    ...(recipe?.network ? { network: networkFrom(recipe.network) } : {}),
    ...(recipe?.restoreFiles ? { restoreFiles: true } : {}),
  };
}

function packageProblems(packages: WirePackages | undefined): FieldViolation[] {
  const problems: FieldViolation[] = [];
  for (const manager of PACKAGE_MANAGERS) {
    const names = packages?.[manager] ?? [];
    const field = `recipe.packages.${manager}`;
    if (names.length > MAX_PACKAGES)
      problems.push({ field, description: `must have at most ${MAX_PACKAGES} packages` });
    const bad = names.find((name) => !isPackageName(name));
    if (bad !== undefined)
      problems.push({ field, description: `${JSON.stringify(bad)} is no package name with an optional version` });
  }
  return problems;
}

function repositoryProblems(repositories: readonly Repository[]): FieldViolation[] {
  const problems: FieldViolation[] = [];
  if (repositories.length > MAX_REPOSITORIES)
    problems.push({ field: "recipe.repositories", description: `must have at most ${MAX_REPOSITORIES} entries` });
  const places = repositories.map(({ mountPath }) => mountPath).filter((path) => path !== "");
  for (const [index, { url, mountPath }] of repositories.entries()) {
    const field = `recipe.repositories[${index}]`;
    if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol))
      problems.push({ field: `${field}.url`, description: "must be an http or https URL" });
    if (mountPath === "") continue;
    const isKept =
      mountPath === "/" || mountPath === "/workspace" || KEPT_PATHS.some((kept) => isBelow(mountPath, kept));
    if (!MOUNT_PATH.test(mountPath) || /\/\.\.?(\/|$)/.test(mountPath) || isKept)
      problems.push({
        field: `${field}.mount_path`,
        description: "must be a plain absolute path, best below /workspace",
      });
    if (places.filter((other) => isBelow(other, mountPath)).length > 1)
      problems.push({ field: `${field}.mount_path`, description: "must not hold another repository's" });
  }
  return problems;
}

function mountProblems(files: readonly MountedFile[]): FieldViolation[] {
  const problems: FieldViolation[] = [];
  if (files.length > MAX_MOUNTED_FILES)
    problems.push({ field: "recipe.mounted_files", description: `must have at most ${MAX_MOUNTED_FILES} entries` });
  for (const [index, { fileId, path }] of files.entries()) {
    const field = `recipe.mounted_files[${index}]`;
    const description = mountPathProblem(path);
    if (description !== undefined) problems.push({ field: `${field}.path`, description });
    if (!isId("file", fileId)) problems.push({ field: `${field}.file_id`, description: "must be a file id, file_…" });
  }
  const clash = mountPathClash(files.map(({ path }) => path));
  if (clash)
    problems.push({ field: "recipe.mounted_files", description: `${clash[0]} and ${clash[1]} cannot both be there` });
  return problems;
}

function memoryProblems(stores: readonly WireMemory[]): FieldViolation[] {
  const field = "recipe.mounted_memories";
  const problems: FieldViolation[] = [];
  if (stores.length > MAX_MEMORY_STORES)
    problems.push({ field, description: `must have at most ${MAX_MEMORY_STORES} entries` });
  if (stores.some(({ storeId }) => !isId("memoryStore", storeId)))
    problems.push({ field: `${field}.store_id`, description: "must be a memory store id, memstore_…" });
  const paths = stores.map(({ path }) => path);
  if (paths.some((path) => !MEMORY_PATH.test(path)) || new Set(paths).size < paths.length)
    problems.push({
      field: `${field}.path`,
      description: `must be a folder of its own directly below ${MEMORY_FOLDER}`,
    });
  return problems;
}

function isBelow(path: string, folder: string): boolean {
  return path === folder || path.startsWith(`${folder}/`);
}

function packagesFrom(packages: WirePackages | undefined): { packages?: Packages } {
  if (!packages || PACKAGE_MANAGERS.every((manager) => packages[manager].length === 0)) return {};
  const { apt, cargo, gem, go, npm, pip } = packages;
  return { packages: { apt, cargo, gem, go, npm, pip } };
}

function memoryFrom({ storeId, path, writable }: WireMemory): MountedMemory {
  return { storeId, path, ...(writable ? { writable } : {}) };
}

function networkFrom({ mode, allowedHosts, allowMcpServers, allowPackageManagers }: Network) {
  return { mode, allowedHosts, allowMcpServers, allowPackageManagers };
}

/** A record's recipe as the wire shows it. */
export function recipeToWire(recipe: Recipe): MessageInitShape<typeof RecipeSchema> {
  const { packages, network } = recipe;
  return {
    image: recipe.image,
    limits: {
      memoryBytes: BigInt(recipe.memoryBytes),
      cpuMillis: recipe.cpuMillis,
      workspaceBytes: BigInt(recipe.workspaceBytes),
      pids: recipe.pids,
    },
    env: recipe.env,
    repositories: recipe.repositories.map((repository) => ({ ...repository })),
    files: recipe.files.map(({ path, contentBase64, mode }) => ({
      path,
      content: Buffer.from(contentBase64, "base64"),
      mode,
    })),
    mountedFiles: (recipe.mountedFiles ?? []).map(({ fileId, path }) => ({ fileId, path })),
    mountedMemories: (recipe.mountedMemories ?? []).map((memory) => ({ ...memory })),
    driver: recipe.driver,
    managerLabels: recipe.managerLabels ?? {},
    restoreFiles: recipe.restoreFiles ?? false,
    ...(network ? { network: { ...network, allowedHosts: [...network.allowedHosts] } } : {}),
    ...(packages
      ? { packages: Object.fromEntries(PACKAGE_MANAGERS.map((manager) => [manager, [...packages[manager]]])) }
      : {}),
  };
}
