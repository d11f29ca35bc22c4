import { createRpcClient } from "@manyhands/kit";
import { RetentionReason, RetentionService } from "@manyhands/protocol";
import { type NatsServer, startNatsServer } from "@manyhands/testkit";
import { afterAll, beforeAll, expect, it } from "vitest";
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

it("names the field of a bad request", async () => {
  const retention = client();
  const fields = (names: string[]) => ({ details: { fieldViolations: names.map((field) => ({ field })) } });
  await expect(retention.setRetention({})).rejects.toMatchObject(fields(["workspace_id", "policy"]));
  const tooMany = retention.applyRetention({ workspaceId: "w", maxRemovals: 1001 });
  await expect(tooMany).rejects.toMatchObject(fields(["max_removals"]));
  retention.close();
});
