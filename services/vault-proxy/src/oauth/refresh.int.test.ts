/** Two replicas over one store, a real MCP server that wants fresh tokens, and a token endpoint that punishes reuse. */
import { newId } from "@manyhands/kit";
import { Audience } from "@manyhands/protocol";
import { eventually, tempDir } from "@manyhands/testkit";
import { afterEach, beforeEach, expect, it } from "vitest";
import { startMcpServer, type TestMcpServer } from "../testing/mcp-server.ts";
import { startOauthServer, type TestOauthServer } from "../testing/oauth-server.ts";
import { memoryBuckets, startVaultProxy, type TestVaultProxy, WORKSPACE, writeKeyFile } from "../testing/start.ts";

const json = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
const plain = (bytes: Uint8Array | undefined) => JSON.parse(new TextDecoder().decode(bytes));

let replicas: TestVaultProxy[];
let mcp: TestMcpServer;
let oauth: TestOauthServer;
let cleanup: () => Promise<void>;
beforeEach(async () => {
  const folder = await tempDir("manyhands-oauth-");
  const keyFile = await writeKeyFile(folder.path);
  const overrides = { buckets: memoryBuckets() };
  oauth = await startOauthServer();
  mcp = await startMcpServer({ accepts: (token) => oauth.accepts(token) });
  const start = () =>
    startVaultProxy({ keyFile, overrides: { ...overrides, audit: { write: async () => undefined } } });
  replicas = [await start(), await start()];
  cleanup = () => folder.cleanup();
});
afterEach(async () => {
  await Promise.all(replicas.map((one) => one.stop()));
  await Promise.all([mcp.close(), oauth.close(), cleanup()]);
});

const first = () => {
  const [one] = replicas;
  if (!one) throw new Error("no replica");
  return one.client;
};

async function oauthCredential(expires_at?: string) {
  const { vault } = await first().createVault({ workspaceId: WORKSPACE, displayName: "v" });
  const tokens = oauth.grant();
  const authJson = json({
    type: "mcp_oauth",
    mcp_server_url: mcp.url,
    access_token: tokens.access_token,
    ...(expires_at === undefined ? {} : { expires_at }),
    refresh: {
      client_id: "client",
      refresh_token: tokens.refresh_token,
      token_endpoint: oauth.url,
      token_endpoint_auth: { type: "client_secret_post", client_secret: "a client's secret" },
    },
  });
  const { credential } = await first().createCredential({ workspaceId: WORKSPACE, vaultId: vault?.id ?? "", authJson });
  return { workspaceId: WORKSPACE, vaultId: vault?.id ?? "", credentialId: credential?.id ?? "" };
}

async function sessionWith(vaultId: string) {
  const sessionId = newId("sesn");
  const mcpServers = [{ name: "s", url: mcp.url }];
  await first().bindSession({ workspaceId: WORKSPACE, sessionId, vaultIds: [vaultId], mcpServers });
  const { token } = await first().mintSessionToken({ sessionId, audiences: [Audience.MCP] });
  return token;
}

const echo = (token: string, replica = 0) => {
  const request = {
    token,
    operationId: newId("sevt"),
    mcpServerName: "s",
    name: "echo",
    inputJson: json({ text: "x" }),
  };
  const client = replicas[replica]?.client ?? first();
  return client.callTool(request, { deadlineMs: 30_000 });
};

it("refreshes exactly once for 50 parallel calls on each of two replicas", async () => {
  const { vaultId } = await oauthCredential();
  const token = await sessionWith(vaultId);
  expect(await echo(token)).toMatchObject({ outcome: "COMPLETED" });
  oauth.expireAll();
  const answers = await Promise.all(Array.from({ length: 100 }, (_, n) => echo(token, n % 2)));
  expect(new Set(answers.map(({ outcome }) => outcome))).toEqual(new Set(["COMPLETED"]));
  expect([oauth.rotations(), oauth.requests(), oauth.reuses()]).toEqual([1, 1, 0]);
});

it("refreshes before the access token ends, and keeps the old refresh token when none comes back", async () => {
  const ref = await oauthCredential(new Date(Date.now() + 20_000).toISOString());
  const token = await sessionWith(ref.vaultId);
  oauth.fault("no_refresh_token");
  expect(await echo(token)).toMatchObject({ outcome: "COMPLETED" });
  expect([oauth.requests(), oauth.rotations()]).toEqual([1, 0]);
  oauth.expireAll();
  expect(await echo(token)).toMatchObject({ outcome: "COMPLETED" });
  expect([oauth.rotations(), oauth.reuses()]).toEqual([1, 0]);
  const { credential } = await first().getCredential(ref);
  expect(Date.parse(plain(credential?.authJson).expires_at)).toBeGreaterThan(Date.now() + 3_000_000);
});

it.each(["500", "html"] as const)("tries again later after %s, with the token it has", async (fault) => {
  const ref = await oauthCredential();
  const token = await sessionWith(ref.vaultId);
  oauth.expireAll();
  oauth.fault(fault);
  expect(await echo(token)).toMatchObject({ outcome: "NOT_STARTED", failure: { kind: "authentication" } });
  expect(await echo(token)).toMatchObject({ outcome: "NOT_STARTED" });
  expect(oauth.requests()).toBe(1);
  expect((await first().getCredential(ref)).credential?.needsReauth).toBe("");
  await eventually(async () => (await echo(token)).outcome === "COMPLETED", { timeoutMs: 10_000, everyMs: 200 });
  expect([oauth.rotations(), oauth.reuses()]).toEqual([1, 0]);
});

it("asks once more after a lost answer, and says visibly when the grant died of it", async () => {
  const ref = await oauthCredential();
  const token = await sessionWith(ref.vaultId);
  oauth.expireAll();
  oauth.fault("lost");
  await echo(token);
  await eventually(
    async () => (await first().getCredential(ref)).credential?.needsReauth !== "" || !(await echo(token)),
    {
      timeoutMs: 10_000,
      everyMs: 200,
    },
  );
  const asked = oauth.requests();
  expect(await echo(token)).toMatchObject({ outcome: "NOT_STARTED", failure: { kind: "authentication" } });
  expect(oauth.requests()).toBe(asked);
  const fresh = oauth.grant();
  const refresh = { refresh_token: fresh.refresh_token };
  await first().updateCredential({
    ...ref,
    authJson: json({ type: "mcp_oauth", access_token: fresh.access_token, refresh }),
  });
  expect(await echo(token)).toMatchObject({ outcome: "COMPLETED" });
  expect((await first().getCredential(ref)).credential?.needsReauth).toBe("");
});

it("lets a newer grant of the user win over a refresh that was on its way", async () => {
  const ref = await oauthCredential();
  const token = await sessionWith(ref.vaultId);
  oauth.expireAll();
  oauth.fault("hold");
  const waiting = echo(token);
  await eventually(() => oauth.holding() === 1);
  const fresh = oauth.grant();
  const refresh = { refresh_token: fresh.refresh_token };
  await first().updateCredential({
    ...ref,
    authJson: json({ type: "mcp_oauth", access_token: fresh.access_token, refresh }),
  });
  oauth.release();
  expect(await waiting).toMatchObject({ outcome: "COMPLETED" });
  expect(mcp.tokens.at(-1)).toBe(`Bearer ${fresh.access_token}`);
});

it("tries a credential: valid, renewed on the way, invalid, and unknown when nobody answers", async () => {
  const ref = await oauthCredential();
  const validate = async () => plain((await first().validateCredential(ref, { deadlineMs: 60_000 })).validationJson);
  expect(await validate()).toMatchObject({
    type: "vault_credential_validation",
    status: "valid",
    refresh: null,
    mcp_probe: null,
  });
  oauth.expireAll();
  expect(await validate()).toMatchObject({
    status: "valid",
    has_refresh_token: true,
    refresh: { status: "succeeded" },
  });
  oauth.expireAll();
  oauth.fault("500");
  const refused = await validate();
  expect(refused).toMatchObject({
    status: "invalid",
    refresh: { status: "failed", http_response: { status_code: 500 } },
  });
  expect(refused.mcp_probe).toMatchObject({ method: "initialize", http_response: { status_code: 401 } });
  await mcp.close();
  expect(await validate()).toMatchObject({ status: "unknown", mcp_probe: { http_response: null } });
  expect(JSON.stringify(refused)).not.toMatch(/access-|refresh-[0-9a-f]{8}/);
});

it("shows no token in any log, audit fact or answer", async () => {
  const { vaultId } = await oauthCredential();
  const token = await sessionWith(vaultId);
  oauth.expireAll();
  await echo(token);
  const said = JSON.stringify(replicas.map(({ logs, audit, events }) => [logs, audit, events]));
  expect(said).not.toMatch(/access-|refresh-[0-9a-f]{8}|a client's secret/);
});
