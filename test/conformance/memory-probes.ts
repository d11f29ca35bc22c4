/** Probes of memory stores. */
import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";
import type { OperationName } from "@manyhands/gateway";

/** What earlier probes made. */
export type MadeMemory = { store: string; memory: string; memoryVersion: string };

type Probe = (client: Anthropic, made: MadeMemory) => Promise<void>;

/** In the order in which they hand ids on. */
export const memoryProbes: Partial<Record<OperationName, Probe>> = {
  "memoryStores.create": async (client, made) => {
    const store = await client.beta.memoryStores.create({ name: "Conformance", metadata: { a: "1" } });
    made.store = store.id;
    strictEqual(store.type, "memory_store");
    strictEqual(store.description, "");
  },
  "memoryStores.retrieve": async (client, made) => {
    strictEqual((await client.beta.memoryStores.retrieve(made.store)).name, "Conformance");
  },
  "memoryStores.update": async (client, made) => {
    const store = await client.beta.memoryStores.update(made.store, { description: "changed", metadata: { a: null } });
    deepStrictEqual([store.name, store.description, store.metadata], ["Conformance", "changed", {}]);
  },
  "memoryStores.list": async (client, made) => {
    ok((await all(client.beta.memoryStores.list({ limit: 1 }))).some(({ id }) => id === made.store));
  },
  "memories.create": async (client, made) => {
    const memory = await client.beta.memoryStores.memories.create(made.store, { path: "/a/b.md", content: "one" });
    made.memory = memory.id;
    made.memoryVersion = memory.memory_version_id;
    strictEqual(memory.content ?? null, null);
    const clash = client.beta.memoryStores.memories.create(made.store, { path: "/a", content: "" });
    await rejects(clash, (error: unknown) => {
      ok(error instanceof Anthropic.ConflictError);
      const { error: inner } = error.error as { error: { type: string; conflicting_memory_id: string } };
      deepStrictEqual([inner.type, inner.conflicting_memory_id], ["memory_path_conflict_error", made.memory]);
      return true;
    });
  },
  "memories.retrieve": async (client, made) => {
    const memory = await client.beta.memoryStores.memories.retrieve(made.memory, { memory_store_id: made.store });
    strictEqual(memory.content, "one");
  },
  "memories.list": async (client, made) => {
    const list = client.beta.memoryStores.memories.list(made.store, { depth: 1, limit: 1 });
    deepStrictEqual(await all(list), [{ type: "memory_prefix", path: "/a/" }]);
  },
  "memories.update": async (client, made) => {
    const { content_sha256 } = await client.beta.memoryStores.memories.retrieve(made.memory, {
      memory_store_id: made.store,
    });
    const precondition = { type: "content_sha256" as const, content_sha256 };
    const params = { memory_store_id: made.store, content: "two", precondition };
    await client.beta.memoryStores.memories.update(made.memory, params);
    const late = client.beta.memoryStores.memories.update(made.memory, { ...params, content: "three" });
    await rejects(late, /memory_precondition_failed_error/);
  },
  "memories.delete": async (client, made) => {
    const deleted = await client.beta.memoryStores.memories.delete(made.memory, { memory_store_id: made.store });
    deepStrictEqual({ ...deleted }, { id: made.memory, type: "memory_deleted" });
  },
  "memoryVersions.list": async (client, made) => {
    const versions = await all(client.beta.memoryStores.memoryVersions.list(made.store, { limit: 1 }));
    deepStrictEqual(
      versions.map(({ operation }) => operation),
      ["deleted", "modified", "created"],
    );
  },
  "memoryVersions.retrieve": async (client, made) => {
    const params = { memory_store_id: made.store };
    const version = await client.beta.memoryStores.memoryVersions.retrieve(made.memoryVersion, params);
    deepStrictEqual([version.content, version.created_by?.type], ["one", "api_actor"]);
  },
  "memoryVersions.redact": async (client, made) => {
    const params = { memory_store_id: made.store };
    const version = await client.beta.memoryStores.memoryVersions.redact(made.memoryVersion, params);
    deepStrictEqual([version.content, version.path, version.content_sha256], [null, null, null]);
    ok(version.redacted_at);
  },
  "memoryStores.archive": async (client, made) => {
    ok((await client.beta.memoryStores.archive(made.store)).archived_at !== null);
  },
  "memoryStores.delete": async (client, made) => {
    strictEqual((await client.beta.memoryStores.delete(made.store)).type, "memory_store_deleted");
  },
};

async function all<T>(list: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of list) {
    items.push(item);
    ok(items.length < 1000, "a list has no end");
  }
  return items;
}
