import { createRpcClient, silentLogger } from "@manyhands/kit";
import { RetentionReason, RetentionService } from "@manyhands/protocol";
import { type NatsServer, startNatsServer } from "@manyhands/testkit";
import { afterAll, beforeAll, expect, it } from "vitest";
import { sweepRetention } from "./retention/sweep-retention.ts";
import { idle, newSession, startStore, testConfig, userMessage } from "./testing/service.ts";

let server: NatsServer;
let store: Awaited<ReturnType<typeof startStore>>;

beforeAll(async () => {
  server = await startNatsServer({ syncAlways: true });
  store = await startStore(testConfig(server));
});

afterAll(async () => {
  await store.stop();
  await server.stop();
});

const client = () =>
  createRpcClient(RetentionService, { address: store.running.addresses.grpc ?? "", defaultDeadlineMs: 20_000 });

async function sessions(workspaceId: string, count: number): Promise<string[]> {
  const ids: string[] = [];
  for (let n = 0; n < count; n += 1) ids.push(await newSession(store.sessions, { workspaceId }));
  return ids;
}

async function left(workspaceId: string): Promise<string[]> {
  const { sessions: list } = await store.sessions.listSessions({ workspaceId, ascending: true, includeArchived: true });
  return list.map((one) => one.id);
}

it("keeps everything without a policy, says first what would go, then removes it for good", async () => {
  const workspaceId = "wrkspc_count";
  const retention = client();
  const [a = "", b = "", c = "", d = ""] = await sessions(workspaceId, 4);
  expect((await retention.applyRetention({ workspaceId })).removed).toEqual([]);
  await retention.setRetention({ workspaceId, policy: { maxSessions: 2n } });
  expect((await retention.getRetention({ workspaceId })).policy).toMatchObject({ maxSessions: 2n, maxIdleSeconds: 0n });
  await store.sessions.archiveSession({ workspaceId, sessionId: b });
  await store.sessions.emitEvents({ sessionId: a, events: [userMessage("at work")] });
  const dry = await retention.applyRetention({ workspaceId, dryRun: true });
  expect(dry.removed.map((one) => one.sessionId)).toEqual([c, d]);
  expect(await left(workspaceId)).toEqual([a, b, c, d]);
  const one = await retention.applyRetention({ workspaceId, maxRemovals: 1 });
  expect(one).toMatchObject({ removed: [{ sessionId: c, reason: RetentionReason.COUNT }], kept: [], left: 1n });
  expect((await retention.applyRetention({ workspaceId })).removed.map((gone) => gone.sessionId)).toEqual([d]);
  expect(await left(workspaceId)).toEqual([a, b]);
  await expect(store.sessions.getEvents({ sessionId: c })).rejects.toMatchObject({ kind: "notFound" });
  retention.close();
});

it("never removes a session at work, nor one whose history a fork shares, and says so", async () => {
  const workspaceId = "wrkspc_keep";
  const retention = client();
  const [origin = "", busy = ""] = await sessions(workspaceId, 2);
  await store.sessions.emitEvents({ sessionId: busy, events: [userMessage("at work")] });
  await store.sessions.forkSession({ workspaceId, sessionId: origin, atPosition: 1n });
  await retention.setRetention({ workspaceId, policy: { maxSessions: 2n } });
  const first = await retention.applyRetention({ workspaceId });
  expect(first.kept).toMatchObject([{ sessionId: origin, keptBecause: "SESSION_FORKED" }]);
  expect(first.removed).toEqual([]);
  await store.sessions.emitEvents({ sessionId: busy, events: [idle()] });
  await retention.setRetention({ workspaceId, policy: { maxIdleSeconds: 3600n } });
  expect(await retention.applyRetention({ workspaceId })).toMatchObject({ removed: [], kept: [], left: 0n });
  retention.close();
});

it("applies a policy by itself when that is due, on one replica, and only if the policy asks for it", async () => {
  const retention = client();
  const others = await sessions("wrkspc_asked", 2);
  await retention.setRetention({ workspaceId: "wrkspc_asked", policy: { maxSessions: 1n } });
  const [first = "", second = ""] = await sessions("wrkspc_itself", 2);
  const policy = { maxSessions: 1n, applyEverySeconds: 60n };
  await retention.setRetention({ workspaceId: "wrkspc_itself", policy });
  const { deps } = store.running;
  const at = (ms: number) => ({ ...deps, logger: silentLogger(), clock: { ...deps.clock, nowMs: () => startMs + ms } });
  const startMs = deps.clock.nowMs();
  const sweep = (ms: number) => sweepRetention(at(ms), new AbortController().signal);

  expect((await Promise.all([sweep(0), sweep(0), sweep(0)])).flat()).toEqual(["wrkspc_itself"]);
  expect(await left("wrkspc_itself")).toEqual([second]);
  await expect(store.sessions.getEvents({ sessionId: first })).rejects.toMatchObject({ kind: "notFound" });
  const [third = ""] = await sessions("wrkspc_itself", 1);
  expect(await sweep(59_999)).toEqual([]);
  // What could not be applied is not put off for a whole period.
  const lagging = { ...at(60_000), index: { ...deps.index, readOn: async () => false } };
  expect(await sweepRetention(lagging, new AbortController().signal)).toEqual([]);
  expect(await left("wrkspc_itself")).toEqual([second, third]);
  expect(await sweep(60_000)).toEqual(["wrkspc_itself"]);
  expect(await left("wrkspc_itself")).toEqual([third]);
  expect(await left("wrkspc_asked")).toEqual(others);
  retention.close();
});

it("looks by itself", async () => {
  const retention = client();
  const [, kept = ""] = await sessions("wrkspc_looked", 2);
  await retention.setRetention({ workspaceId: "wrkspc_looked", policy: { maxSessions: 1n, applyEverySeconds: 60n } });
  const replica = await startStore(testConfig(server, { MH_RETENTION_LOOK_MS: "100" }));
  await expect.poll(() => left("wrkspc_looked"), { timeout: 20_000 }).toEqual([kept]);
  await replica.stop();
  retention.close();
});

it("names the field of a bad request", async () => {
  const retention = client();
  const fields = (names: string[]) => ({ details: { fieldViolations: names.map((field) => ({ field })) } });
  await expect(retention.setRetention({})).rejects.toMatchObject(fields(["workspace_id", "policy"]));
  const tooOften = retention.setRetention({ workspaceId: "w", policy: { applyEverySeconds: 59n } });
  await expect(tooOften).rejects.toMatchObject(fields(["policy.apply_every_seconds"]));
  const tooMany = retention.applyRetention({ workspaceId: "w", maxRemovals: 1001 });
  await expect(tooMany).rejects.toMatchObject(fields(["max_removals"]));
  retention.close();
});
