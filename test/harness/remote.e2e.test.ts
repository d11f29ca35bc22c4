/** Sessions of self-hosted environments, served by the official client's worker over the public protocol alone. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import Anthropic from "@anthropic-ai/sdk";
import { createGateway, hashApiKey, readConfig } from "@manyhands/gateway";
import { silentLogger } from "@manyhands/kit";
import { eventually, nodeEnv, tempDir } from "@manyhands/testkit";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { type Bed, isIdle, lastWords, log, logUntil, ofType, startBed } from "./bed.ts";

const keys = { people: "mh-test-key-of-people", workers: "sk-ant-oat01-test-key-of-workers" };
const leaseMs = 2000;
/** What the gateway allows for between the log's clock and the lease's. */
const clockSkewMs = 2000;

let folder: Awaited<ReturnType<typeof tempDir>>;
let bed: Bed;
let gateway: Awaited<ReturnType<typeof createGateway>>;
let baseURL: string;
let people: Anthropic;
let environmentId: string;
const workers: ChildProcess[] = [];

/** A tool with a trace: one line when it begins, and when `hold` is there, no end. */
const trace = (name: string) =>
  `echo begun >> ${name}; [ -e hold ] && sleep 600; echo done >> ${name}; cat ${name} | wc -l`;
const scenario = (name: string) => `
name: ${name}
priority: 50
match: { last_user_text: '\\b${name}\\b' }
steps:
  - emit: [{ tool_use: { name: bash, input: { command: "${trace(name)}" } } }]
  - emit: [{ text: "Said: {{tool_result}}" }]
`;

const remembers = `
name: remembers
priority: 50
match: { last_user_text: '\\bremember\\b' }
steps:
  - emit: [{ tool_use: { name: bash, input: { command: "cd /mnt/memory/of-workers; cat known.md; echo learned > new.md" } } }]
  - emit: [{ text: "Said: {{tool_result}}" }]
`;

beforeAll(async () => {
  folder = await tempDir("manyhands-remote-");
  const names = ["first", "second", "third", "fourth", "fifth"];
  bed = await startBed(
    { ...Object.fromEntries(names.map((name) => [name, scenario(name)])), remembers },
    {
      sandboxManager: { MH_WORK_LEASE_MS: String(leaseMs) },
    },
  );
  const harness = await bed.startHarness();
  const keysFile = path.join(folder.path, "keys.json");
  const writeKeys = (environment?: string) => {
    const own = { id: "key_people", workspace_id: "wrkspc_test", sha256: hashApiKey(keys.people) };
    const theirs = { id: "key_workers", workspace_id: "wrkspc_test", sha256: hashApiKey(keys.workers) };
    const all = environment === undefined ? [own] : [own, { ...theirs, environment_id: environment }];
    return writeFile(keysFile, JSON.stringify({ keys: all }));
  };
  await writeKeys();
  const start = () =>
    createGateway(
      readConfig({
        MH_API_KEYS_FILE: keysFile,
        MH_SESSION_STORE_ADDR: bed.storeAddress,
        MH_VAULT_PROXY_ADDR: bed.vaultAddress,
        MH_SANDBOX_MANAGER_ADDR: bed.sandboxAddress,
        MH_HARNESS_ADDR: harness.addresses.grpc ?? "",
      }),
      { logger: silentLogger() },
    );
  gateway = await start();
  const clientOf = () => new Anthropic({ baseURL: `http://${gateway.addresses.http}`, apiKey: keys.people });
  const environment = await clientOf().beta.environments.create({ name: "ours", config: { type: "self_hosted" } });
  environmentId = environment.id;
  await writeKeys(environmentId);
  await gateway.stop("to read the new key at once");
  gateway = await start();
  baseURL = `http://${gateway.addresses.http}`;
  people = clientOf();
});
afterEach(async () => {
  await Promise.all(workers.splice(0).map(kill));
});
afterAll(async () => {
  await gateway?.stop("test over");
  await bed?.close();
  await folder?.cleanup();
});

/** Starts a worker with a folder of its own below the test's. */
function startWorker(maxIdleMs = 1000, within: readonly string[] = []): ChildProcess {
  const script = path.join(import.meta.dirname, "worker-process.ts");
  const command = [process.execPath, script, baseURL, environmentId, keys.workers, folder.path, String(maxIdleMs)];
  const [program = "", ...args] = [...within, ...command];
  const child = spawn(program, args, {
    env: nodeEnv(),
    stdio: "ignore",
    detached: true,
  });
  workers.push(child);
  return child;
}

/** With everything that it has started. */
async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const ended = once(child, "exit");
  process.kill(-child.pid, "SIGKILL");
  await ended;
}

type Resources = Anthropic.Beta.SessionCreateParams["resources"];

async function startSession(text: string, resources: Resources = []): Promise<string> {
  const agent = await people.beta.agents.create({
    name: text,
    model: "demo-1",
    tools: [{ type: "agent_toolset_20260401" }],
  });
  const session = await people.beta.sessions.create({
    agent: agent.id,
    environment_id: environmentId,
    resources,
    initial_events: [{ type: "user.message", content: [{ type: "text", text }] }],
  });
  return session.id;
}

const done = (sessionId: string) =>
  logUntil(bed, sessionId, (events) => isIdle()(events) && lastWords(events).startsWith("Said"), 30_000);
const linesOf = async (name: string) => (await readFile(path.join(folder.path, name), "utf8")).trim().split("\n");

it("serves a session, lets go when it is idle, and serves its next message", async () => {
  startWorker();
  const sessionId = await startSession("do the first");
  const events = await done(sessionId);
  expect(lastWords(events)).toContain("Said: 2");
  expect(ofType(events, "user.tool_result").map(({ tool_use_id }) => tool_use_id)).toEqual(
    ofType(events, "agent.tool_use").map(({ id }) => id),
  );
  expect(ofType(events, "hand.provisioned")).toEqual([]);
  const item = await stopped(sessionId);
  expect(item.started_at).not.toBeNull();
  await people.beta.sessions.events.send(sessionId, {
    events: [{ type: "user.message", content: [{ type: "text", text: "do the second" }] }],
  });
  await logUntil(bed, sessionId, (all) => isIdle(2)(all) && ofType(all, "user.tool_result").length === 2, 30_000);
  expect(await linesOf("first")).toEqual(["begun", "done"]);
  expect(await linesOf("second")).toEqual(["begun", "done"]);
});

it("gives a session whose worker died after the ack, unread, to the next worker", async () => {
  const sessionId = await startSession("do the third");
  const client = new Anthropic({ baseURL, apiKey: null, authToken: keys.workers });
  for await (const work of client.beta.environments.work.poller({
    environmentId,
    environmentKey: keys.workers,
    autoStop: false,
  })) {
    expect(work.data.id).toBe(sessionId);
    expect(work.secret).not.toBeNull();
    break; // acknowledged, and never heard of again
  }
  startWorker();
  expect(lastWords(await done(sessionId))).toContain("Said: 2");
  expect(await linesOf("third")).toEqual(["begun", "done"]);
});

it("tells what a dead worker had begun as unknown, and runs it nowhere again", async () => {
  const hold = path.join(folder.path, "hold");
  await writeFile(hold, "");
  const dead = startWorker();
  const sessionId = await startSession("do the fourth");
  const hasBegun = async () => (await linesOf("fourth")).join() === "begun";
  await eventually(hasBegun, { timeoutMs: 20_000, everyMs: 25 });
  await kill(dead);
  startWorker();
  const events = await done(sessionId);
  expect(lastWords(events)).toContain("outcome of this bash call is unknown");
  expect(ofType(events, "user.tool_result")).toHaveLength(1);
  expect(await linesOf("fourth")).toEqual(["begun"]);
  await rm(hold);
});

it("runs what was asked for after the worker had lost the session", async () => {
  const lost = startWorker(60_000);
  const sessionId = await startSession("just talk");
  await logUntil(bed, sessionId, isIdle());
  // By its second heartbeat it has long read the session.
  const hasBeaten = async () => {
    const { started_at, latest_heartbeat_at } = await itemOf(sessionId);
    return started_at !== latest_heartbeat_at;
  };
  await eventually(hasBeaten, { timeoutMs: 15_000, everyMs: 25 });
  lost.kill("SIGSTOP");
  const { latest_heartbeat_at } = await itemOf(sessionId);
  const lostMs = Date.parse(latest_heartbeat_at ?? "") + leaseMs + clockSkewMs;
  await eventually(() => (Date.now() > lostMs + 100 ? true : undefined), { timeoutMs: 10_000, everyMs: 50 });
  await people.beta.sessions.events.send(sessionId, {
    events: [{ type: "user.message", content: [{ type: "text", text: "do the fifth" }] }],
  });
  await logUntil(bed, sessionId, (all) => ofType(all, "agent.tool_use").length === 1);
  startWorker();
  const events = await done(sessionId);
  lost.kill("SIGCONT"); // it finds its token void
  expect(lastWords(events)).toContain("Said: 2");
  expect(await linesOf("fifth")).toEqual(["begun", "done"]);
});

it("has a session's memory stores kept by its worker, which reaches no other store", async () => {
  const { memories, memoryVersions } = people.beta.memoryStores;
  const store = await people.beta.memoryStores.create({ name: "Of workers" });
  const shown = await people.beta.memoryStores.create({ name: "Shown" });
  await memories.create(store.id, { path: "/known.md", content: "known\n" });
  const resources = [
    { type: "memory_store" as const, memory_store_id: store.id },
    { type: "memory_store" as const, memory_store_id: shown.id, access: "read_only" as const },
  ];
  startWorker(1000, ["bwrap", "--dev-bind", "/", "/", "--tmpfs", "/mnt", "--die-with-parent"]); // its machine's /mnt
  const sessionId = await startSession("remember this", resources);
  expect(lastWords(await done(sessionId))).toContain("Said: known");
  const kept = async () => {
    const [newest] = (await memoryVersions.list(store.id, { view: "full" })).data;
    if (newest?.path !== "/new.md") throw new Error("it is not kept yet");
    return newest;
  };
  const version = await eventually(kept, { timeoutMs: 20_000, everyMs: 100 });
  expect(version).toMatchObject({ content: "learned\n", created_by: { type: "session_actor", session_id: sessionId } });
  await stopped(sessionId);
});

it("gives keys of workers and tokens of items nothing but their own", async () => {
  const worker = new Anthropic({ baseURL, apiKey: null, authToken: keys.workers, maxRetries: 0 });
  const [own] = await workOf();
  await expect(worker.beta.sessions.retrieve(own?.data.id ?? "")).rejects.toThrow(Anthropic.PermissionDeniedError);
  await expect(worker.beta.environments.work.poll("env_other")).rejects.toThrow(Anthropic.PermissionDeniedError);
  await expect(people.beta.environments.work.poll("env_other")).rejects.toThrow(Anthropic.NotFoundError);

  const [given, shown, foreign] = await Promise.all(
    ["Given", "Shown too", "Foreign"].map((name) => people.beta.memoryStores.create({ name })),
  );
  const sessionId = await startSession("just talk", [
    { type: "memory_store", memory_store_id: given?.id ?? "" },
    { type: "memory_store", memory_store_id: shown?.id ?? "", access: "read_only" },
  ]);
  const polled = async () => {
    const work = await worker.beta.environments.work.poll(environmentId);
    if (work?.data.id !== sessionId) throw new Error("an item that a worker of another test held, or none yet");
    return work;
  };
  const work = await eventually(polled, { timeoutMs: 20_000, everyMs: 20 });
  const other = await startSession("just talk too");
  const secret: unknown = JSON.parse(Buffer.from(work.secret ?? "", "base64url").toString());
  const token = typeof secret === "object" && secret && "sessions_token" in secret ? String(secret.sessions_token) : "";
  const holder = new Anthropic({ baseURL, apiKey: null, authToken: token, maxRetries: 0 });
  await expect(holder.beta.sessions.retrieve(sessionId)).rejects.toThrow(Anthropic.AuthenticationError); // not yet acknowledged
  await worker.beta.environments.work.ack(work.id, { environment_id: environmentId });
  expect((await holder.beta.sessions.retrieve(sessionId)).id).toBe(sessionId);
  await expect(holder.beta.sessions.retrieve(other)).rejects.toThrow(Anthropic.PermissionDeniedError);
  await expect(holder.beta.sessions.list()).rejects.toThrow(Anthropic.PermissionDeniedError);
  const said = { events: [{ type: "user.message" as const, content: [{ type: "text" as const, text: "me" }] }] };
  await expect(holder.beta.sessions.events.send(sessionId, said)).rejects.toThrow(Anthropic.PermissionDeniedError);

  const { memories } = holder.beta.memoryStores;
  const note = { path: "/note.md", content: "x" };
  const { id } = await memories.create(given?.id ?? "", note);
  expect((await memories.retrieve(id, { memory_store_id: given?.id ?? "" })).content).toBe("x");
  expect((await memories.list(shown?.id ?? "")).data).toEqual([]);
  await expect(memories.create(shown?.id ?? "", note)).rejects.toThrow(Anthropic.PermissionDeniedError);
  await expect(memories.list(foreign?.id ?? "")).rejects.toThrow(Anthropic.NotFoundError);
  await expect(memories.create(foreign?.id ?? "", note)).rejects.toThrow(Anthropic.NotFoundError);
  await expect(holder.beta.memoryStores.list()).rejects.toThrow(Anthropic.PermissionDeniedError);

  const name = { environment_id: environmentId };
  const beat = await holder.beta.environments.work.heartbeat(work.id, {
    ...name,
    expected_last_heartbeat: "NO_HEARTBEAT",
  });
  expect(beat).toMatchObject({ state: "active", lease_extended: true, ttl_seconds: leaseMs / 1000 });
  await expect(
    worker.beta.environments.work.heartbeat(work.id, { ...name, expected_last_heartbeat: "2001-01-01" }),
  ).rejects.toMatchObject({ status: 412, error: { error: { details: { current_state: { state: "active" } } } } });
  await holder.beta.environments.work.stop(work.id, { ...name, force: true });
  await expect(holder.beta.sessions.retrieve(sessionId)).rejects.toThrow(Anthropic.AuthenticationError);
  expect((await log(bed, sessionId)).some(({ type }) => type === "user.tool_result")).toBe(false);
});

/** Its item once its worker has let go. */
const stopped = (sessionId: string) =>
  eventually(
    async () => {
      const [own] = await workOf(sessionId);
      if (own?.state !== "stopped") throw new Error(`the item is ${own?.state}`);
      return own;
    },
    { timeoutMs: 15_000, everyMs: 50 },
  );

async function itemOf(sessionId: string) {
  const [item] = await workOf(sessionId);
  if (item === undefined) throw new Error("the session has no work item");
  return item;
}

async function workOf(sessionId?: string) {
  const worker = new Anthropic({ baseURL, apiKey: null, authToken: keys.workers });
  const items = [];
  for await (const item of worker.beta.environments.work.list(environmentId)) {
    if (sessionId === undefined || item.data.id === sessionId) items.push(item);
  }
  return items;
}
