/**
 * One probe for each operation that is served: the unchanged official client calls it against a running platform and
 * checks what came back. Probes run in the order of this table and hand ids on.
 */
import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import type Anthropic from "@anthropic-ai/sdk";
import { toFile } from "@anthropic-ai/sdk";
import type { OperationName } from "@manyhands/gateway";
import { type MadeMemory, memoryProbes } from "./memory-probes.ts";
import { type MadeWork, workProbes } from "./work-probes.ts";

/** What earlier probes made. */
export type Made = MadeWork &
  MadeMemory & {
    environment: string;
    vault: string;
    credential: string;
    resource: string;
    file: string;
  };

/** Calls one operation and throws when the answer is not right. */
export type Probe = (client: Anthropic, made: Made) => Promise<void>;

const token = "ghs_conformance_0123456789";
const repository = "https://git.example.com/acme/app.git";

/** Probes by operation. */
export const probes: Partial<Record<OperationName, Probe>> = {
  "agents.create": async (client, made) => {
    const agent = await client.beta.agents.create({
      name: "Conformance",
      model: "claude-sonnet-5-5",
      tools: [{ type: "agent_toolset_20260401" }],
      metadata: { team: "a" },
    });
    made.agent = agent.id;
    strictEqual(agent.version, 1);
    strictEqual(agent.type, "agent");
    deepStrictEqual(agent.skills, []);
  },
  "agents.retrieve": async (client, made) => {
    strictEqual((await client.beta.agents.retrieve(made.agent, { version: 1 })).name, "Conformance");
  },
  "agents.update": async (client, made) => {
    const updated = await client.beta.agents.update(made.agent, {
      version: 1,
      system: "Be brief.",
      metadata: { team: null },
    });
    strictEqual(updated.version, 2);
    deepStrictEqual(updated.metadata, {});
    strictEqual((await client.beta.agents.update(made.agent, { system: "Be brief." })).version, 2);
  },
  "agents.list": async (client, made) => {
    ok((await collect(client.beta.agents.list({ limit: 1 }))).some((agent) => agent.id === made.agent));
  },
  "agents.versions.list": async (client, made) => {
    const versions = await collect(client.beta.agents.versions.list(made.agent, { limit: 1 }));
    deepStrictEqual(
      versions.map((agent) => agent.version),
      [2, 1],
    );
  },
  "environments.create": async (client, made) => {
    const environment = await client.beta.environments.create({ name: `conformance-${Date.now()}` });
    made.environment = environment.id;
    strictEqual(environment.config.type, "cloud");
  },
  "environments.retrieve": async (client, made) => {
    strictEqual((await client.beta.environments.retrieve(made.environment)).id, made.environment);
  },
  "environments.update": async (client, made) => {
    const updated = await client.beta.environments.update(made.environment, {
      description: "changed",
      metadata: { a: "1" },
    });
    strictEqual(updated.description, "changed");
    deepStrictEqual(updated.metadata, { a: "1" });
  },
  "environments.list": async (client, made) => {
    ok((await collect(client.beta.environments.list({ limit: 1 }))).some((each) => each.id === made.environment));
  },
  "vaults.create": async (client, made) => {
    const vault = await client.beta.vaults.create({ display_name: "Conformance", metadata: { a: "1" } });
    made.vault = vault.id;
    strictEqual(vault.type, "vault");
  },
  "vaults.retrieve": async (client, made) => {
    strictEqual((await client.beta.vaults.retrieve(made.vault)).display_name, "Conformance");
  },
  "vaults.update": async (client, made) => {
    const vault = await client.beta.vaults.update(made.vault, {
      display_name: "Renamed",
      metadata: { a: null, b: "2" },
    });
    strictEqual(vault.display_name, "Renamed");
    deepStrictEqual(vault.metadata, { b: "2" });
  },
  "vaults.list": async (client, made) => {
    ok((await collect(client.beta.vaults.list({ limit: 1 }))).some((vault) => vault.id === made.vault));
  },
  "vaults.credentials.create": async (client, made) => {
    const credential = await client.beta.vaults.credentials.create(made.vault, {
      display_name: "Bearer",
      auth: { type: "static_bearer", mcp_server_url: "https://mcp.example.com/", token },
    });
    made.credential = credential.id;
    deepStrictEqual(credential.auth, { type: "static_bearer", mcp_server_url: "https://mcp.example.com/" });
    ok(!JSON.stringify(credential).includes(token));
  },
  "vaults.credentials.retrieve": async (client, made) => {
    const credential = await client.beta.vaults.credentials.retrieve(made.credential, { vault_id: made.vault });
    ok(!JSON.stringify(credential).includes(token));
  },
  "vaults.credentials.update": async (client, made) => {
    const params = {
      vault_id: made.vault,
      display_name: "Rotated",
      auth: { type: "static_bearer" as const, token: `${token}2` },
    };
    const credential = await client.beta.vaults.credentials.update(made.credential, params);
    strictEqual(credential.display_name, "Rotated");
    ok(!JSON.stringify(credential).includes(token));
  },
  "vaults.credentials.list": async (client, made) => {
    const all = await collect(client.beta.vaults.credentials.list(made.vault));
    deepStrictEqual(
      all.map((credential) => credential.id),
      [made.credential],
    );
  },
  "vaults.credentials.mcpOAuthValidate": async (client, made) => {
    const credential = await client.beta.vaults.credentials.create(made.vault, {
      auth: { type: "mcp_oauth", mcp_server_url: "https://mcp.invalid/", access_token: token },
    });
    const vault_id = { vault_id: made.vault };
    const validation = await client.beta.vaults.credentials.mcpOAuthValidate(credential.id, vault_id);
    strictEqual(validation.status, "unknown"); // nobody is there
    strictEqual(validation.credential_id, credential.id);
    ok(!JSON.stringify(validation).includes(token));
    await client.beta.vaults.credentials.delete(credential.id, vault_id);
  },
  "files.upload": async (client, made) => {
    const file = await client.files.upload({ file: await toFile(Buffer.from("conformance"), "a/conformance.txt") });
    made.file = file.id;
    strictEqual(file.type, "file");
    strictEqual(file.filename, "conformance.txt");
    strictEqual(file.size_bytes, 11);
  },
  "files.retrieveMetadata": async (client, made) => {
    strictEqual((await client.beta.files.retrieveMetadata(made.file)).id, made.file);
  },
  "files.list": async (client, made) => {
    ok((await collect(client.files.list({ limit: 1 }))).some((file) => file.id === made.file));
  },
  "files.download": async (client, made) => {
    strictEqual(await (await client.files.download(made.file)).text(), "conformance");
  },
  "sessions.create": async (client, made) => {
    const session = await client.beta.sessions.create({
      agent: { type: "agent", id: made.agent, version: 2 },
      environment_id: made.environment,
      title: "Conformance",
      metadata: { run: "1" },
      vault_ids: [made.vault],
      resources: [{ type: "github_repository", url: repository, authorization_token: token }],
    });
    made.session = session.id;
    strictEqual(session.status, "idle");
    strictEqual(session.agent.version, 2);
    deepStrictEqual(session.vault_ids, [made.vault]);
    ok(!JSON.stringify(session).includes(token));
    const [resource] = session.resources;
    ok(resource !== undefined && "id" in resource);
    made.resource = resource.id;
  },
  "sessions.retrieve": async (client, made) => {
    strictEqual((await client.beta.sessions.retrieve(made.session)).title, "Conformance");
  },
  "sessions.update": async (client, made) => {
    const session = await client.beta.sessions.update(made.session, {
      title: "Changed",
      metadata: { run: null, b: "2" },
    });
    strictEqual(session.title, "Changed");
    deepStrictEqual(session.metadata, { b: "2" });
  },
  "sessions.list": async (client, made) => {
    ok(
      (await collect(client.beta.sessions.list({ agent_id: made.agent, limit: 1 }))).some(
        ({ id }) => id === made.session,
      ),
    );
  },
  ...workProbes,
  ...memoryProbes,
  "sessions.resources.list": async (client, made) => {
    const resources = await collect(client.beta.sessions.resources.list(made.session));
    deepStrictEqual(
      resources.map((resource) => ("id" in resource ? resource.id : "")),
      [made.resource],
    );
  },
  "sessions.resources.add": async (client, made) => {
    const resource = await client.beta.sessions.resources.add(made.session, { type: "file", file_id: made.file });
    strictEqual(resource.mount_path, `/mnt/session/uploads/${made.file}`);
    await client.beta.sessions.resources.delete(resource.id, { session_id: made.session });
  },
  "sessions.resources.retrieve": async (client, made) => {
    const resource = await client.beta.sessions.resources.retrieve(made.resource, { session_id: made.session });
    strictEqual(resource.type, "github_repository");
  },
  "sessions.resources.update": async (client, made) => {
    const params = { session_id: made.session, authorization_token: `${token}2` };
    const resource = await client.beta.sessions.resources.update(made.resource, params);
    ok(!JSON.stringify(resource).includes(token));
  },
  "sessions.resources.delete": async (client, made) => {
    const deleted = await client.beta.sessions.resources.delete(made.resource, { session_id: made.session });
    deepStrictEqual({ ...deleted }, { id: made.resource, type: "session_resource_deleted" });
    deepStrictEqual(await collect(client.beta.sessions.resources.list(made.session)), []);
  },
  "sessions.events.stream": async (client, made) => {
    const stream = await client.beta.sessions.events.stream(made.session);
    await client.beta.sessions.events.send(made.session, {
      events: [{ type: "user.message", content: [{ type: "text", text: "Hello" }] }],
    });
    const types: string[] = [];
    for await (const event of stream) {
      types.push(event.type);
      if (event.type === "session.status_idle") break;
    }
    strictEqual(types[0], "user.message");
    ok(types.includes("agent.message"));
  },
  "sessions.events.send": async (client, made) => {
    const { data } = await client.beta.sessions.events.send(made.session, { events: [{ type: "user.interrupt" }] });
    strictEqual(data?.[0]?.type, "user.interrupt");
  },
  "sessions.events.list": async (client, made) => {
    const events = await collect(client.beta.sessions.events.list(made.session, { types: ["user.message"], limit: 1 }));
    deepStrictEqual(
      events.map((event) => event.type),
      ["user.message"],
    );
  },
  "sessions.archive": async (client, made) => {
    await idle(client, made.session);
    const session = await client.beta.sessions.archive(made.session);
    strictEqual(session.status, "terminated");
    ok(session.archived_at !== null);
  },
  "sessions.delete": async (client, made) => {
    deepStrictEqual(
      { ...(await client.beta.sessions.delete(made.session)) },
      { id: made.session, type: "session_deleted" },
    );
  },
  "files.delete": async (client, made) => {
    deepStrictEqual({ ...(await client.files.delete(made.file)) }, { id: made.file, type: "file_deleted" });
  },
  "agents.archive": async (client, made) => {
    ok((await client.beta.agents.archive(made.agent)).archived_at !== null);
  },
  "environments.archive": async (client, made) => {
    ok((await client.beta.environments.archive(made.environment)).archived_at !== null);
  },
  "environments.delete": async (client, made) => {
    strictEqual((await client.beta.environments.delete(made.environment)).type, "environment_deleted");
  },
  "vaults.credentials.archive": async (client, made) => {
    const credential = await client.beta.vaults.credentials.archive(made.credential, { vault_id: made.vault });
    ok(credential.archived_at !== null);
  },
  "vaults.credentials.delete": async (client, made) => {
    const deleted = await client.beta.vaults.credentials.delete(made.credential, { vault_id: made.vault });
    strictEqual(deleted.type, "vault_credential_deleted");
  },
  "vaults.archive": async (client, made) => {
    ok((await client.beta.vaults.archive(made.vault)).archived_at !== null);
  },
  "vaults.delete": async (client, made) => {
    strictEqual((await client.beta.vaults.delete(made.vault)).type, "vault_deleted");
  },
};

const MAX_ITEMS = 10_000;
const IDLE_MS = 30_000;

/** Everything of a list, page by page, by the client's own iterator. */
export async function collect<T>(list: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of list) {
    items.push(item);
    ok(items.length <= MAX_ITEMS, `a list has more than ${MAX_ITEMS} items`);
  }
  return items;
}

/** Waits until a session is idle. */
export async function idle(client: Anthropic, sessionId: string): Promise<void> {
  const deadline = performance.now() + IDLE_MS;
  while ((await client.beta.sessions.retrieve(sessionId)).status !== "idle") {
    ok(performance.now() < deadline, `session ${sessionId} did not become idle within ${IDLE_MS} ms`);
  }
}
