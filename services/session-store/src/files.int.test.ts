/** Files of workspaces over a real nats-server: kept whole or not at all, bounded, apart, gone when they should be. */
import { createHash, randomBytes } from "node:crypto";
import { connectBus, openBucket } from "@manyhands/bus";
import { createRpcClient, silentLogger } from "@manyhands/kit";
import { FileService, type UploadEnd } from "@manyhands/protocol";
import { type NatsServer, startNatsServer } from "@manyhands/testkit";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createFileIndex } from "./files/file-index.ts";
import { createJetStreamContentStore, filePurge } from "./files/jetstream-content-store.ts";
import { sweepFiles } from "./files/sweep-files.ts";
import { json, newSession, startStore, testConfig } from "./testing/service.ts";

const workspaceId = "wrkspc_files";
const maxBytes = 3_000_000;
let server: NatsServer;
let store: Awaited<ReturnType<typeof startStore>>;
let files: ReturnType<typeof connect>;

const connect = (address: string) => createRpcClient(FileService, { address, defaultDeadlineMs: 20_000 });

beforeAll(async () => {
  server = await startNatsServer({ syncAlways: true });
  const limits = { MH_FILE_MAX_BYTES: String(maxBytes), MH_FILE_QUOTA_BYTES: "9000000" };
  store = await startStore(testConfig(server, limits));
  files = connect(store.running.addresses.grpc ?? "");
});

afterAll(async () => {
  files.close();
  await store.stop();
  await server.stop();
});

type Start = Partial<{ workspaceId: string; filename: string; requestId: string; sessionId: string; path: string }>;

async function* steps(content: Uint8Array, start: Start, end: Partial<UploadEnd> | null) {
  yield { part: { case: "start" as const, value: { workspaceId, filename: "a.bin", ...start } } };
  for (let at = 0; at < content.length; at += 100_000) {
    yield { part: { case: "data" as const, value: content.subarray(at, at + 100_000) } };
  }
  if (end) yield { part: { case: "end" as const, value: end } };
}

async function upload(content: Uint8Array, start: Start = {}, end: Partial<UploadEnd> | null = {}) {
  const { file } = await files.uploadFile(steps(content, start, end));
  return file ?? expect.fail("no file in the answer");
}

async function download(fileId: string, owner = workspaceId, sessionId = ""): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const { part } of files.readFile({ workspaceId: owner, fileId, sessionId }))
    if (part.case === "data") pieces.push(part.value);
  return Buffer.concat(pieces);
}

it.each([0, 1, 262_144, 262_145, 2_500_000])("gives back %i bytes as they came", async (size) => {
  const content = randomBytes(size);
  const file = await upload(content, { filename: "../etc/some\nname.bin" });
  expect(file).toMatchObject({ size: BigInt(size), filename: "somename.bin", mimeType: "application/octet-stream" });
  expect(file.sha256).toBe(createHash("sha256").update(content).digest("hex"));
  expect((await download(file.id)).equals(content)).toBe(true);
  await files.deleteFile({ workspaceId, fileId: file.id });
  await expect(download(file.id)).rejects.toMatchObject({ kind: "notFound" });
  await expect(files.deleteFile({ workspaceId, fileId: file.id })).rejects.toMatchObject({ kind: "notFound" });
});

it("keeps nothing of an upload that breaks off, is too large or breaks a rule", async () => {
  const own = { workspaceId: "wrkspc_broken" };
  await expect(upload(randomBytes(600_000), own, null)).rejects.toMatchObject({ kind: "invalid" });
  await expect(upload(randomBytes(maxBytes + 1), own)).rejects.toMatchObject({ reason: "TOO_LARGE" });
  await expect(upload(Buffer.from("a"), own, { expiresInSeconds: 10 })).rejects.toThrow(/expires_in_seconds/);
  await expect(upload(Buffer.from("a"), { workspaceId: "" })).rejects.toThrow(/workspace_id/);
  await expect(upload(Buffer.from("a"), { sessionId: "sesn_none", path: "a" })).rejects.toMatchObject({
    kind: "notFound",
  });
  const noStart = (async function* () {
    yield { part: { case: "data" as const, value: Buffer.from("x") } };
  })();
  await expect(files.uploadFile(noStart)).rejects.toThrow(/part/);
  expect((await files.listFiles(own)).files).toEqual([]);
  expect(await leftOf("wrkspc_broken")).toBe(0);
});

it("bounds what a workspace keeps", async () => {
  const own = { workspaceId: "wrkspc_quota" };
  const kept = await Promise.all([1, 2, 3].map(() => upload(randomBytes(2_900_000), own)));
  await expect(upload(randomBytes(2_900_000), own)).rejects.toMatchObject({ reason: "STORAGE_QUOTA_EXCEEDED" });
  await files.deleteFile({ ...own, fileId: kept[0]?.id ?? "" });
  await upload(randomBytes(2_900_000), own);
});

it("keeps workspaces apart, lists by page, answers repeats", async () => {
  const own = { workspaceId: "wrkspc_lists" };
  const made = [await upload(Buffer.from("1"), { ...own, requestId: "r1" }), await upload(Buffer.from("2"), own)];
  const again = await upload(Buffer.from("1"), { ...own, requestId: "r1" });
  expect(again).toEqual(made[0]);
  await expect(upload(Buffer.from("3"), { ...own, requestId: "r1" })).rejects.toMatchObject({ reason: "ID_REUSED" });
  const page = await files.listFiles({ ...own, pageSize: 1 });
  const rest = await files.listFiles({ ...own, pageSize: 1, pageToken: page.nextPageToken });
  const ids = [...page.files, ...rest.files].map(({ id }) => id);
  expect(ids.sort()).toEqual(made.map(({ id }) => id).sort());
  expect(rest.nextPageToken).toBe("");
  const some = await files.listFiles({ ...own, fileIds: [made[1]?.id ?? "", "file_none"] });
  expect(some.files.map(({ id }) => id)).toEqual([made[1]?.id]);
  const fileId = made[0]?.id ?? "";
  await expect(files.getFile({ workspaceId, fileId })).rejects.toMatchObject({ kind: "notFound" });
  await expect(download(fileId, workspaceId)).rejects.toMatchObject({ kind: "notFound" });
  await expect(files.deleteFile({ workspaceId, fileId })).rejects.toMatchObject({ kind: "notFound" });
  await expect(download("file_x.>", workspaceId)).rejects.toMatchObject({ kind: "notFound" });
});

it("gives a session what it was given, and nothing else of its workspace", async () => {
  const [given, other] = [await upload(Buffer.from("given")), await upload(Buffer.from("other"))];
  const resource = { id: "sesrsc_1", type: "file", file_id: given.id, mount_path: "/workspace/a" };
  const sessionId = await newSession(store.sessions, { workspaceId, resourcesJson: json([resource]) });
  expect(String(await download(given.id, "", sessionId))).toBe("given");
  await expect(download(other.id, "", sessionId)).rejects.toMatchObject({ kind: "notFound" });
  await expect(download(given.id, "wrkspc_other", sessionId)).rejects.toMatchObject({ kind: "notFound" });
  const added = { id: "sesrsc_2", type: "file", file_id: other.id, mount_path: "/workspace/b" };
  const change = { workspaceId, sessionId, addResourcesJson: json([added]) };
  await store.sessions.updateSession(change);
  const { session } = await store.sessions.updateSession(change);
  expect(JSON.parse(new TextDecoder().decode(session?.resourcesJson))).toEqual([resource, added]);
  expect(String(await download(other.id, "", sessionId))).toBe("other");
  const many = Array.from({ length: 99 }, (_, index) => ({ id: `sesrsc_m${index}` }));
  const tooMany = store.sessions.updateSession({ workspaceId, sessionId, addResourcesJson: json(many) });
  await expect(tooMany).rejects.toThrow(/resources/);
});

it("keeps one file for a path that a session puts out", async () => {
  const sessionId = await newSession(store.sessions, { workspaceId });
  const out = (text: string) =>
    upload(Buffer.from(text), { workspaceId: "", sessionId, path: "a/b.txt", filename: "b.txt" });
  const first = await out("one");
  expect((await out("one")).contentId).toBe(first.contentId);
  const second = await out("two");
  expect(second.id).toBe(first.id);
  const { files: listed } = await files.listFiles({ workspaceId, sessionId });
  expect(listed).toEqual([second]);
  expect(String(await download(first.id))).toBe("two");
  await expect(upload(Buffer.from("x"), { sessionId, path: "../x" })).rejects.toThrow(/path/);
});

it("removes contents whose time is over and what broke off long ago, and nothing else", async () => {
  const own = "wrkspc_sweep";
  const stays = await upload(Buffer.from("stays"), { workspaceId: own });
  const goes = await upload(Buffer.from("goes"), { workspaceId: own }, { expiresInSeconds: 3600 });
  const bus = await connectBus({ url: server.url, name: "test", inboxPrefix: "_INBOX_test", logger: silentLogger() });
  try {
    const index = createFileIndex(await openBucket(bus, "MH_WORKSPACE_FILES"), filePurge(bus));
    const contents = createJetStreamContentStore(bus);
    const torn = { workspaceId: own, contentId: "cont_torn" };
    await index.begin(torn);
    await contents.put(torn, 0, Buffer.from("torn"));
    const clock = { nowMs: () => Date.now() + 2 * 3_600_000, sleep: async () => undefined };
    expect(await sweepFiles({ files: index, contents, clock, logger: silentLogger() })).toBeGreaterThanOrEqual(2);
    expect(await contents.read(torn, 0, 1)).toEqual([undefined]);
    expect(await contents.read(goes, 0, 1)).toEqual([undefined]);
    contents.close();
  } finally {
    await bus.close();
  }
  expect(String(await download(stays.id, own))).toBe("stays");
  expect((await files.getFile({ workspaceId: own, fileId: goes.id })).file?.expiresAt).toBeDefined();
});

/** Pieces of contents that are stored of a workspace. */
async function leftOf(owner: string): Promise<number> {
  const bus = await connectBus({ url: server.url, name: "test", inboxPrefix: "_INBOX_test", logger: silentLogger() });
  try {
    const found = await (await openBucket(bus, "MH_WORKSPACE_FILES")).keys(`upload.${owner}.*`);
    return found.length;
  } finally {
    await bus.close();
  }
}
