/**
 * Environments in a bucket. `head.{workspace}.{environment}` is swapped by revision. A name is claimed under
 * `name.{workspace}.{hash}` before it is used; a claim whose environment does not carry the name (a crash in between)
 * may be taken over.
 */
import { createHash } from "node:crypto";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import type { KvBucket } from "@manyhands/bus";
import { AppError } from "@manyhands/kit";
import { type Environment, EnvironmentSchema } from "@manyhands/protocol";
import { contended, maxSwaps, parseConfig, sameConfig } from "./versioned.ts";

/** Environments of all workspaces; one of another workspace is NOT_FOUND. */
export interface EnvironmentStore {
  /** Makes it; answers the existing one when the id has the same configuration. ABORTED/NAME_TAKEN. */
  create(workspaceId: string, id: string, config: Uint8Array, nowMs: number): Promise<Environment>;
  /** One of them. */
  get(workspaceId: string, id: string): Promise<Environment>;
  /** Newest first. */
  list(workspaceId: string): Promise<Environment[]>;
  /** Replaces the configuration; its type stays. */
  update(workspaceId: string, id: string, config: Uint8Array, nowMs: number): Promise<Environment>;
  /** Archives it; twice is fine. */
  archive(workspaceId: string, id: string, nowMs: number): Promise<Environment>;
  /** Removes it and frees its name. */
  delete(workspaceId: string, id: string): Promise<void>;
}

const headKey = (workspaceId: string, id: string) => `head.${workspaceId}.${id}`;
const encode = (environment: Environment) => toBinary(EnvironmentSchema, environment);
const decode = (bytes: Uint8Array) => fromBinary(EnvironmentSchema, bytes);
const text = { encode: new TextEncoder(), decode: new TextDecoder() };
const claimGraceMs = 10_000;

function nameKey(workspaceId: string, name: string): string {
  return `name.${workspaceId}.${createHash("sha256").update(name).digest("base64url")}`;
}

/** The name in a configuration; empty when it has none. */
function nameOf(config: Uint8Array): string {
  const { name } = parseConfig(config);
  return typeof name === "string" ? name : "";
}

/** The store over its bucket. */
export function createEnvironmentStore(bucket: KvBucket): EnvironmentStore {
  const head = async (workspaceId: string, id: string) => {
    const entry = await bucket.get(headKey(workspaceId, id));
    if (entry === undefined) throw AppError.notFound("environment", id);
    return { environment: decode(entry.value), revision: entry.revision };
  };

  const claim = async (workspaceId: string, id: string, name: string, nowMs: number): Promise<void> => {
    if (name === "") return;
    const key = nameKey(workspaceId, name);
    if ((await bucket.create(key, text.encode.encode(id))) !== undefined) return;
    const held = await bucket.get(key);
    const holder = held === undefined ? id : text.decode.decode(held.value);
    if (held === undefined || holder === id) return;
    const entry = await bucket.get(headKey(workspaceId, holder));
    const carries = entry !== undefined && nameOf(decode(entry.value).configJson) === name;
    if (carries || nowMs - held.writtenAt < claimGraceMs) throw nameTaken(name);
    if ((await bucket.update(key, text.encode.encode(id), held.revision)) === undefined) throw nameTaken(name);
  };

  const release = async (workspaceId: string, id: string, name: string): Promise<void> => {
    const held = name === "" ? undefined : await bucket.get(nameKey(workspaceId, name));
    if (held !== undefined && text.decode.decode(held.value) === id) await bucket.delete(held.key, held.revision);
  };

  const swap = async (
    workspaceId: string,
    id: string,
    change: (environment: Environment) => Environment | undefined,
  ) => {
    for (let attempt = 0; attempt < maxSwaps; attempt += 1) {
      const { environment, revision } = await head(workspaceId, id);
      const next = change(environment);
      if (next === undefined) return environment;
      if ((await bucket.update(headKey(workspaceId, id), encode(next), revision)) !== undefined) return next;
    }
    throw contended(`environment ${id}`);
  };

  return {
    async create(workspaceId, id, configJson, nowMs) {
      const there = await bucket.get(headKey(workspaceId, id));
      if (there !== undefined) return sameOrReused(decode(there.value), configJson);
      await claim(workspaceId, id, nameOf(configJson), nowMs);
      const at = timestampFromMs(nowMs);
      const made = create(EnvironmentSchema, { id, workspaceId, configJson, createdAt: at, updatedAt: at });
      if ((await bucket.create(headKey(workspaceId, id), encode(made))) !== undefined) return made;
      return sameOrReused((await head(workspaceId, id)).environment, configJson);
    },
    get: async (workspaceId, id) => (await head(workspaceId, id)).environment,
    async list(workspaceId) {
      const all = (await bucket.entries(headKey(workspaceId, "*"))).map((entry) => decode(entry.value));
      return all.sort((a, b) => createdMs(b) - createdMs(a) || (a.id < b.id ? 1 : -1));
    },
    async update(workspaceId, id, configJson, nowMs) {
      const before = (await head(workspaceId, id)).environment;
      const [oldName, newName] = [nameOf(before.configJson), nameOf(configJson)];
      if (oldName !== newName) await claim(workspaceId, id, newName, nowMs);
      const after = await swap(workspaceId, id, (environment) => {
        if (environment.archivedAt !== undefined) throw archived(id);
        checkTypeStays(environment.configJson, configJson);
        if (sameConfig(environment.configJson, configJson)) return undefined;
        return { ...environment, configJson, updatedAt: timestampFromMs(nowMs) };
      });
      if (oldName !== newName) await release(workspaceId, id, oldName);
      return after;
    },
    archive: (workspaceId, id, nowMs) =>
      swap(workspaceId, id, (environment) =>
        environment.archivedAt === undefined ? { ...environment, archivedAt: timestampFromMs(nowMs) } : undefined,
      ),
    async delete(workspaceId, id) {
      const { environment } = await head(workspaceId, id);
      await bucket.delete(headKey(workspaceId, id));
      await release(workspaceId, id, nameOf(environment.configJson));
    },
  };
}

function sameOrReused(there: Environment, configJson: Uint8Array): Environment {
  if (sameConfig(there.configJson, configJson)) return there;
  throw AppError.conflict("ID_REUSED", "request_id: was used before with another configuration");
}

function typeOf(configJson: Uint8Array): unknown {
  const { config } = parseConfig(configJson);
  return typeof config === "object" && config !== null && "type" in config ? config.type : undefined;
}

function checkTypeStays(before: Uint8Array, after: Uint8Array): void {
  if (typeOf(before) === typeOf(after)) return;
  throw AppError.invalid([{ field: "config_json.config.type", description: "cannot change; make a new environment" }]);
}

function createdMs(environment: Environment): number {
  return environment.createdAt === undefined ? 0 : timestampMs(environment.createdAt);
}

function nameTaken(name: string): AppError {
  return AppError.conflict("NAME_TAKEN", `config_json.name: ${name} is in use in this workspace`);
}

function archived(id: string): AppError {
  return new AppError("fenced", { reason: "ARCHIVED", message: `environment ${id} is archived and takes no changes` });
}
