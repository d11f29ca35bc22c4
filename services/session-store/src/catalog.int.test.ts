import { type NatsServer, startNatsServer } from "@manyhands/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { json, startStore, testConfig } from "./testing/service.ts";

const workspaceId = "wrkspc_catalog";
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

describe("agents", () => {
  const make = async (config: object, requestId = "") => {
    const { agent } = await store.agents.createAgent({ workspaceId, configJson: json(config), requestId });
    return agent ?? expect.fail("no agent in the answer");
  };

  it("refuses bad configurations and names, each by its field", async () => {
    const field = (name: string) => ({ kind: "invalid", details: { fieldViolations: [{ field: name }] } });
    await expect(store.agents.createAgent({ configJson: json({}) })).rejects.toMatchObject(field("workspace_id"));
    await expect(store.agents.createAgent({ workspaceId })).rejects.toMatchObject(field("config_json"));
    await expect(store.agents.createAgent({ workspaceId, configJson: json([1]) })).rejects.toMatchObject(
      field("config_json"),
    );
    const big = json({ system: "x".repeat(300_000) });
    await expect(store.agents.createAgent({ workspaceId, configJson: big })).rejects.toMatchObject({
      reason: "TOO_LARGE",
    });
    await expect(store.agents.getAgent({ workspaceId, agentId: "x" })).rejects.toMatchObject(field("agent_id"));
    await expect(store.agents.getAgent({ workspaceId, agentId: "agent_none" })).rejects.toMatchObject({
      kind: "notFound",
    });
  });

  it("makes a version per change, none for nothing, and keeps the old ones", async () => {
    const { id } = await make({ name: "a", model: "m1" });
    const update = (config: object, expectedVersion = 0) =>
      store.agents.updateAgent({ workspaceId, agentId: id, configJson: json(config), expectedVersion });
    expect((await update({ model: "m1", name: "a" })).agent?.version).toBe(1);
    expect((await update({ name: "a", model: "m2" }, 1)).agent?.version).toBe(2);
    await expect(update({ name: "a", model: "m3" }, 1)).rejects.toMatchObject({
      reason: "VERSION_CONFLICT",
      details: { metadata: { version: "2" } },
    });
    const outcomes = await Promise.allSettled([3, 4, 5].map((n) => update({ name: "a", model: `m${n}` }, 2)));
    expect(outcomes.filter((one) => one.status === "fulfilled")).toHaveLength(1);
    const { agents } = await store.agents.listAgentVersions({ workspaceId, agentId: id });
    expect(agents.map((agent) => agent.version)).toEqual([3, 2, 1]);
    const old = await store.agents.getAgent({ workspaceId, agentId: id, version: 1 });
    expect(JSON.parse(new TextDecoder().decode(old.agent?.configJson))).toEqual({ name: "a", model: "m1" });
    await expect(store.agents.getAgent({ workspaceId, agentId: id, version: 9 })).rejects.toMatchObject({
      kind: "notFound",
    });
  });

  it("archives, hides archived ones from lists, isolates workspaces, pages", async () => {
    const own = "wrkspc_agents";
    for (const name of ["1", "2", "3"]) {
      await store.agents.createAgent({ workspaceId: own, configJson: json({ name }), requestId: `r${name}` });
    }
    const again = await store.agents.createAgent({
      workspaceId: own,
      configJson: json({ name: "1" }),
      requestId: "r1",
    });
    const page1 = await store.agents.listAgents({ workspaceId: own, pageSize: 2 });
    const page2 = await store.agents.listAgents({ workspaceId: own, pageSize: 2, pageToken: page1.nextPageToken });
    expect([page1.agents.length, page2.agents.length, page2.nextPageToken]).toEqual([2, 1, ""]);
    const agentId = again.agent?.id ?? "";
    const archived = await store.agents.archiveAgent({ workspaceId: own, agentId });
    expect(archived.agent?.archivedAt).toBeDefined();
    expect((await store.agents.listAgents({ workspaceId: own })).agents).toHaveLength(2);
    expect((await store.agents.listAgents({ workspaceId: own, includeArchived: true })).agents).toHaveLength(3);
    await expect(
      store.agents.updateAgent({ workspaceId: own, agentId, configJson: json({ name: "new" }) }),
    ).rejects.toMatchObject({ reason: "ARCHIVED" });
    await expect(store.agents.getAgent({ workspaceId, agentId })).rejects.toMatchObject({ kind: "notFound" });
  });
});

describe("environments", () => {
  const config = (name: string, type = "cloud") => json({ name, config: { type } });
  const make = (name: string, requestId = "") =>
    store.environments.createEnvironment({ workspaceId, configJson: config(name), requestId });

  it("keeps names apart and frees them on rename and delete", async () => {
    const environmentId = (await make("one")).environment?.id ?? "";
    await expect(make("one")).rejects.toMatchObject({ kind: "conflict", reason: "NAME_TAKEN" });
    const update = (bytes: Uint8Array) =>
      store.environments.updateEnvironment({ workspaceId, environmentId, configJson: bytes });
    await update(config("renamed"));
    await make("one");
    await expect(update(config("one"))).rejects.toMatchObject({ reason: "NAME_TAKEN" });
    await expect(update(config("renamed", "self_hosted"))).rejects.toMatchObject({
      details: { fieldViolations: [{ field: "config_json.config.type" }] },
    });
    await store.environments.deleteEnvironment({ workspaceId, environmentId });
    await make("renamed");
    await expect(store.environments.getEnvironment({ workspaceId, environmentId })).rejects.toMatchObject({
      kind: "notFound",
    });
  });

  it("lets one of many claim a name, answers repeats, archives", async () => {
    const outcomes = await Promise.allSettled(Array.from({ length: 8 }, () => make("contested")));
    expect(outcomes.filter((one) => one.status === "fulfilled")).toHaveLength(1);
    const [a, b] = [await make("again", "r1"), await make("again", "r1")];
    expect(b.environment?.id).toBe(a.environment?.id);
    const environmentId = a.environment?.id ?? "";
    await store.environments.archiveEnvironment({ workspaceId, environmentId });
    const { environments } = await store.environments.listEnvironments({ workspaceId, pageSize: 100 });
    expect(environments.map((one) => one.id)).not.toContain(environmentId);
  });
});
