/**
 * Agents in a bucket. `head.{workspace}.{agent}` holds the latest version and is swapped by revision; each version that
 * stops being the latest is first kept under `version.{workspace}.{agent}.{n}`, always with the same content, so that a
 * crash between the two writes leaves nothing wrong.
 */
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import type { KvBucket } from "@manyhands/bus";
import { AppError } from "@manyhands/kit";
import { type Agent, AgentSchema } from "@manyhands/protocol";
import { contended, maxSwaps, sameConfig } from "./versioned.ts";

/** Agents of all workspaces; an agent of another workspace is NOT_FOUND. */
export interface AgentStore {
  /** Makes version 1 under an id; answers the existing one when it has the same configuration. */
  create(workspaceId: string, id: string, config: Uint8Array, nowMs: number): Promise<Agent>;
  /** One version; 0 is the latest. */
  get(workspaceId: string, id: string, version: number): Promise<Agent>;
  /** Latest versions, newest agent first. */
  list(workspaceId: string): Promise<Agent[]>;
  /** All versions, newest first. */
  versions(workspaceId: string, id: string): Promise<Agent[]>;
  /** The next version, or the latest when nothing changed. */
  update(workspaceId: string, id: string, config: Uint8Array, expected: number, nowMs: number): Promise<Agent>;
  /** Archives it; twice is fine. */
  archive(workspaceId: string, id: string, nowMs: number): Promise<Agent>;
}

const headKey = (workspaceId: string, id: string) => `head.${workspaceId}.${id}`;
const versionKey = (agent: Agent) => `version.${agent.workspaceId}.${agent.id}.${agent.version}`;
const encode = (agent: Agent) => toBinary(AgentSchema, agent);
const decode = (bytes: Uint8Array) => fromBinary(AgentSchema, bytes);

/** The store over its bucket. */
export function createAgentStore(bucket: KvBucket): AgentStore {
  const head = async (workspaceId: string, id: string) => {
    const entry = await bucket.get(headKey(workspaceId, id));
    if (entry === undefined) throw AppError.notFound("agent", id);
    return { agent: decode(entry.value), revision: entry.revision };
  };

  const swap = async (workspaceId: string, id: string, change: (agent: Agent) => Agent | undefined): Promise<Agent> => {
    for (let attempt = 0; attempt < maxSwaps; attempt += 1) {
      const { agent, revision } = await head(workspaceId, id);
      const next = change(agent);
      if (next === undefined) return agent;
      if (next.version !== agent.version) await bucket.put(versionKey(agent), encode(agent));
      if ((await bucket.update(headKey(workspaceId, id), encode(next), revision)) !== undefined) return next;
    }
    throw contended(`agent ${id}`);
  };

  return {
    async create(workspaceId, id, configJson, nowMs) {
      const at = timestampFromMs(nowMs);
      const agent = create(AgentSchema, { id, workspaceId, version: 1, configJson, createdAt: at, updatedAt: at });
      if ((await bucket.create(headKey(workspaceId, id), encode(agent))) !== undefined) return agent;
      const first = await this.get(workspaceId, id, 1);
      if (sameConfig(first.configJson, configJson)) return first;
      throw AppError.conflict("ID_REUSED", "request_id: was used before with another configuration");
    },
    async get(workspaceId, id, version) {
      const { agent } = await head(workspaceId, id);
      if (version === 0 || version === agent.version) return agent;
      const entry = await bucket.get(versionKey({ ...agent, version }));
      if (entry === undefined) throw AppError.notFound("agent version", `${id} version ${version}`);
      return withArchived(decode(entry.value), agent);
    },
    async list(workspaceId) {
      const agents = (await bucket.entries(headKey(workspaceId, "*"))).map((entry) => decode(entry.value));
      return agents.sort((a, b) => createdMs(b) - createdMs(a) || (a.id < b.id ? 1 : -1));
    },
    async versions(workspaceId, id) {
      const { agent } = await head(workspaceId, id);
      const older = await bucket.entries(`version.${workspaceId}.${id}.*`);
      const all = older.map((entry) => withArchived(decode(entry.value), agent));
      return [agent, ...all.filter((one) => one.version < agent.version).sort((a, b) => b.version - a.version)];
    },
    update: (workspaceId, id, configJson, expected, nowMs) =>
      swap(workspaceId, id, (agent) => {
        if (expected !== 0 && expected !== agent.version) throw versionConflict(expected, agent.version);
        if (agent.archivedAt !== undefined) throw archived(id);
        if (sameConfig(agent.configJson, configJson)) return undefined;
        return { ...agent, version: agent.version + 1, configJson, updatedAt: timestampFromMs(nowMs) };
      }),
    archive: (workspaceId, id, nowMs) =>
      swap(workspaceId, id, (agent) =>
        agent.archivedAt === undefined ? { ...agent, archivedAt: timestampFromMs(nowMs) } : undefined,
      ),
  };
}

/** An agent is archived as a whole, whatever version is asked for. */
function withArchived(version: Agent, head: Agent): Agent {
  return head.archivedAt === undefined ? version : { ...version, archivedAt: head.archivedAt };
}

function createdMs(agent: Agent): number {
  return agent.createdAt === undefined ? 0 : timestampMs(agent.createdAt);
}

function versionConflict(expected: number, latest: number): AppError {
  const message = `expected_version: must be the latest; expected ${expected}, the latest is ${latest}`;
  return AppError.conflict("VERSION_CONFLICT", message, { version: String(latest) });
}

function archived(id: string): AppError {
  return new AppError("fenced", { reason: "ARCHIVED", message: `agent ${id} is archived and takes no changes` });
}
