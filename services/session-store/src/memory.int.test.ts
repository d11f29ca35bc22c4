/** Memory stores over a real nats-server: paths, preconditions, versions, many writers at once. */
import { createRpcClient } from "@manyhands/kit";
import { MemoryOperation, MemoryService } from "@manyhands/protocol";
import { type NatsServer, startNatsServer } from "@manyhands/testkit";
import { afterAll, beforeAll, expect, it } from "vitest";
import { sha256Of } from "./memory/change-memory.ts";
import { json, newSession, startStore, testConfig } from "./testing/service.ts";

const workspaceId = "wrkspc_memory";
let server: NatsServer;
let store: Awaited<ReturnType<typeof startStore>>;
let memories: ReturnType<typeof connect>;

const connect = (address: string) => createRpcClient(MemoryService, { address, defaultDeadlineMs: 20_000 });

beforeAll(async () => {
  server = await startNatsServer({ syncAlways: true });
  store = await startStore(testConfig(server));
  memories = connect(store.running.addresses.grpc ?? "");
});

afterAll(async () => {
  memories.close();
  await store.stop();
  await server.stop();
});

async function newStore(): Promise<{ workspaceId: string; storeId: string }> {
  const { store: made } = await memories.createMemoryStore({ workspaceId, name: "Notes" });
  return { workspaceId, storeId: made?.id ?? "" };
}

const actor = { apiKeyId: "key_1" };
const pathsOf = async (name: { workspaceId: string; storeId: string }) =>
  (await memories.listMemories({ ...name, pageSize: 100 })).items.map(({ item }) =>
    item.case === "memory" ? item.value.path : item.value,
  );

it("keeps a memory through changes of content and path, each a version, none for nothing", async () => {
  const name = await newStore();
  const { memory } = await memories.createMemory({ ...name, path: "/a/b.md", content: "one", actor });
  const memoryId = memory?.id ?? "";
  expect(memory).toMatchObject({ path: "/a/b.md", content: "one", contentSha256: sha256Of("one"), contentSize: 3 });
  const same = await memories.updateMemory({ ...name, memoryId, content: "one" });
  expect(same.memory?.versionId).toBe(memory?.versionId);
  const changed = await memories.updateMemory({ ...name, memoryId, content: "zwölf", expectedSha256: sha256Of("one") });
  expect(changed.memory).toMatchObject({ contentSize: 6, path: "/a/b.md" });
  const moved = await memories.updateMemory({ ...name, memoryId, path: "/c.md" });
  expect(moved.memory).toMatchObject({ id: memoryId, path: "/c.md", content: "zwölf" });
  expect((await memories.getMemory({ ...name, memoryId })).memory).toEqual(moved.memory);
  await memories.deleteMemory({ ...name, memoryId, actor: { sessionId: "sesn_1" } });
  await expect(memories.getMemory({ ...name, memoryId })).rejects.toMatchObject({ kind: "notFound" });
  const { versions } = await memories.listMemoryVersions({ ...name, full: true });
  expect(versions.map(({ operation, path, content }) => [operation, path, content])).toEqual([
    [MemoryOperation.DELETED, "/c.md", undefined],
    [MemoryOperation.MODIFIED, "/c.md", "zwölf"],
    [MemoryOperation.MODIFIED, "/a/b.md", "zwölf"],
    [MemoryOperation.CREATED, "/a/b.md", "one"],
  ]);
  const bySession = await memories.listMemoryVersions({ ...name, sessionId: "sesn_1" });
  expect(bySession.versions.map(({ memoryId: id }) => id)).toEqual([memoryId]);
});

it("refuses a change of a content that is another by now, unless the memory already is as asked for", async () => {
  const name = await newStore();
  const memoryId = (await memories.createMemory({ ...name, path: "/a", content: "one" })).memory?.id ?? "";
  await memories.updateMemory({ ...name, memoryId, content: "two" });
  const late = { ...name, memoryId, expectedSha256: sha256Of("one") };
  await expect(memories.updateMemory({ ...late, content: "three" })).rejects.toMatchObject({
    reason: "MEMORY_PRECONDITION_FAILED",
  });
  expect((await memories.updateMemory({ ...late, content: "two" })).memory?.content).toBe("two");
  await expect(memories.deleteMemory(late)).rejects.toMatchObject({ reason: "MEMORY_PRECONDITION_FAILED" });
});

it("has no path twice and none in another", async () => {
  const name = await newStore();
  const { memory } = await memories.createMemory({ ...name, path: "/a/b", content: "" });
  for (const path of ["/a/b", "/a", "/a/b/c"]) {
    await expect(memories.createMemory({ ...name, path, content: "x" })).rejects.toMatchObject({
      reason: "MEMORY_PATH_CONFLICT",
      details: { metadata: { conflicting_memory_id: memory?.id, conflicting_path: "/a/b" } },
    });
  }
  await memories.createMemory({ ...name, path: "/a/b-c", content: "x" });
  await memories.createMemory({ ...name, path: "/A/b", content: "x" });
  expect(await pathsOf(name)).toEqual(["/A/b", "/a/b", "/a/b-c"]);
});

it.each([
  "",
  "a",
  "/",
  "/a/",
  "/a//b",
  "/a/./b",
  "/../a",
  "/a\0b",
  "/a\u2028b",
  "/u\u0308",
  `/${"a/".repeat(20)}a`,
  `/${"a".repeat(1025)}`,
])("refuses the path %j", async (path) => {
  const name = await newStore();
  await expect(memories.createMemory({ ...name, path, content: "x" })).rejects.toThrow(/path/);
});

it("bounds contents, isolates workspaces, closes archived stores", async () => {
  const name = await newStore();
  await expect(memories.createMemory({ ...name, path: "/a", content: "ü".repeat(51_201) })).rejects.toThrow(/content/);
  const { memory } = await memories.createMemory({ ...name, path: "/a", content: "ü".repeat(51_200) });
  const memoryId = memory?.id ?? "";
  const foreign = { ...name, workspaceId: "wrkspc_other" };
  await expect(memories.getMemory({ ...foreign, memoryId })).rejects.toMatchObject({ kind: "notFound" });
  await expect(memories.deleteMemoryStore(foreign)).rejects.toMatchObject({ kind: "notFound" });
  await expect(memories.getMemoryStore({ workspaceId, storeId: "memstore_x.>" })).rejects.toMatchObject({
    kind: "notFound",
  });
  await memories.archiveMemoryStore(name);
  await expect(memories.createMemory({ ...name, path: "/b", content: "" })).rejects.toMatchObject({
    reason: "ARCHIVED",
  });
  await expect(memories.updateMemory({ ...name, memoryId, content: "" })).rejects.toMatchObject({ reason: "ARCHIVED" });
  await memories.deleteMemory({ ...name, memoryId });
  expect((await memories.listMemoryStores({ workspaceId })).stores.map(({ id }) => id)).not.toContain(name.storeId);
  const all = await memories.listMemoryStores({ workspaceId, includeArchived: true, pageSize: 1000 });
  expect(all.stores.map(({ id }) => id)).toContain(name.storeId);
});

it("takes many writers at once: every change is made once, on what the one before it left", async () => {
  const name = await newStore();
  const memoryId = (await memories.createMemory({ ...name, path: "/count", content: "" })).memory?.id ?? "";
  const retried = async <T>(work: () => Promise<T>): Promise<T> => {
    for (;;) {
      try {
        return await work();
      } catch (error) {
        const { reason } = error as { reason?: string };
        if (reason !== "MEMORY_PRECONDITION_FAILED" && reason !== "CONTENDED") throw error;
      }
    }
  };
  const add = (tag: string) =>
    retried(async () => {
      const { memory } = await memories.getMemory({ ...name, memoryId });
      const content = `${memory?.content}${tag}`;
      await memories.updateMemory({ ...name, memoryId, content, expectedSha256: memory?.contentSha256 ?? "" });
    });
  const others = [1, 2, 3, 4].map((n) =>
    retried(() => memories.createMemory({ ...name, path: `/n${n}`, content: "" })),
  );
  await Promise.all([...[..."abcdefgh"].map(add), ...others]);
  const { memory } = await memories.getMemory({ ...name, memoryId });
  expect([...(memory?.content ?? "")].sort().join("")).toBe("abcdefgh");
  expect(await pathsOf(name)).toEqual(["/count", "/n1", "/n2", "/n3", "/n4"]);
  const { versions } = await memories.listMemoryVersions({ ...name, pageSize: 100 });
  expect(versions.map(({ sequence }) => Number(sequence))).toEqual(Array.from({ length: 13 }, (_, n) => 13 - n));
});

it("lets a session read what it was given, and change what it was given to change, in its own name", async () => {
  const [given, shown, other] = await Promise.all([newStore(), newStore(), newStore()]);
  const sessionId = await newSession(store.sessions, {
    workspaceId,
    resourcesJson: json([
      { type: "memory_store", memory_store_id: given.storeId, access: "read_write" },
      { type: "memory_store", memory_store_id: shown.storeId, access: "read_only" },
    ]),
  });
  const as = ({ storeId }: { storeId: string }) => ({ sessionId, storeId });
  const { memory } = await memories.createMemory({ ...as(given), path: "/a", content: "one", actor });
  const memoryId = memory?.id ?? "";
  await memories.updateMemory({ ...as(given), memoryId, content: "two", expectedSha256: sha256Of("one") });
  expect((await memories.getMemory({ ...as(given), memoryId })).memory?.content).toBe("two");
  await memories.deleteMemory({ ...as(given), memoryId, expectedSha256: sha256Of("two") });
  const { versions } = await memories.listMemoryVersions(given);
  expect(versions.map(({ createdBy }) => createdBy?.sessionId)).toEqual([sessionId, sessionId, sessionId]);

  const kept = (await memories.createMemory({ ...shown, path: "/a", content: "x" })).memory?.id ?? "";
  expect((await memories.getMemory({ ...as(shown), memoryId: kept })).memory?.content).toBe("x");
  const refused = { kind: "denied", reason: "MEMORY_READ_ONLY" };
  await expect(memories.createMemory({ ...as(shown), path: "/b", content: "x" })).rejects.toMatchObject(refused);
  await expect(memories.updateMemory({ ...as(shown), memoryId: kept, content: "y" })).rejects.toMatchObject(refused);
  await expect(memories.deleteMemory({ ...as(shown), memoryId: kept })).rejects.toMatchObject(refused);
  for (const foreign of [as(other), { ...as(given), sessionId: "sesn_none" }]) {
    const absent = { kind: "notFound" };
    await expect(memories.listMemories(foreign)).rejects.toMatchObject(absent);
    await expect(memories.getMemory({ ...foreign, memoryId })).rejects.toMatchObject(absent);
    await expect(memories.createMemory({ ...foreign, path: "/b", content: "x" })).rejects.toMatchObject(absent);
  }
});

it("lists by folder and page", async () => {
  const name = await newStore();
  for (const path of ["/top", "/d/a", "/d/e/b", "/d/e/c", "/z/a"])
    await memories.createMemory({ ...name, path, content: path });
  const list = async (query: { pathPrefix?: string; depth?: number; pageSize?: number; full?: boolean }) => {
    const found: (string | undefined)[] = [];
    let pageToken = "";
    do {
      const page = await memories.listMemories({ ...name, ...query, pageToken });
      for (const { item } of page.items) found.push(item.case === "memory" ? item.value.path : item.value);
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
    return found;
  };
  expect(await list({ depth: 1, pageSize: 1 })).toEqual(["/d/", "/top", "/z/"]);
  expect(await list({ depth: 1, pathPrefix: "/d/" })).toEqual(["/d/a", "/d/e/"]);
  expect(await list({ pathPrefix: "/d/", pageSize: 2 })).toEqual(["/d/a", "/d/e/b", "/d/e/c"]);
  await expect(list({ pathPrefix: "/d" })).rejects.toThrow(/path_prefix/);
  const full = await memories.listMemories({ ...name, full: true, pathPrefix: "/z/" });
  expect(full.items[0]?.item.value).toMatchObject({ content: "/z/a" });
});

it("redacts what is no memory any more, for good, and removes a store whole", async () => {
  const name = await newStore();
  const { memory } = await memories.createMemory({ ...name, path: "/secret", content: "secret" });
  const versionId = memory?.versionId ?? "";
  await expect(memories.redactMemoryVersion({ ...name, versionId })).rejects.toMatchObject({
    reason: "MEMORY_VERSION_CURRENT",
  });
  await memories.deleteMemory({ ...name, memoryId: memory?.id ?? "" });
  const { version } = await memories.redactMemoryVersion({ ...name, versionId, actor });
  expect(version).toMatchObject({ path: "", contentSha256: "", redactedBy: { apiKeyId: "key_1" } });
  expect(version?.content).toBeUndefined();
  expect((await memories.getMemoryVersion({ ...name, versionId })).version).toEqual(version);
  await expect(memories.getMemoryVersion({ ...name, versionId: "memver_1_x" })).rejects.toMatchObject({
    kind: "notFound",
  });
  await memories.deleteMemoryStore(name);
  await expect(memories.getMemoryVersion({ ...name, versionId })).rejects.toMatchObject({ kind: "notFound" });
});
