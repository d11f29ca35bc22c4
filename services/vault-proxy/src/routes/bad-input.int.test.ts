import { Audience } from "@manyhands/protocol";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startVaultProxy, type TestVaultProxy, WORKSPACE } from "../testing/start.ts";
import { canary, invalid, json, vaultCalls } from "../testing/vault-calls.ts";

let vault: TestVaultProxy;
beforeAll(async () => {
  vault = await startVaultProxy();
});
afterAll(() => vault?.stop());
const { newVault } = vaultCalls(() => vault);

describe("bad input", () => {
  it("names every wrong field of a vault at once", async () => {
    const metadata = Object.fromEntries(Array.from({ length: 17 }, (_, n) => [`k${n}`, "v"]));
    await expect(vault.client.createVault({ workspaceId: "no.dots", displayName: "", metadata })).rejects.toMatchObject(
      invalid("workspace_id", "display_name", "metadata"),
    );
    await expect(
      vault.client.createVault({ workspaceId: "", displayName: "x".repeat(256), requestId: "r".repeat(129) }),
    ).rejects.toMatchObject(invalid("workspace_id", "display_name", "request_id"));
    await expect(vault.client.getVault({ workspaceId: WORKSPACE, vaultId: "vcrd_1" })).rejects.toMatchObject(
      invalid("vault_id"),
    );
  });

  it("refuses page sizes and page tokens that it did not make for this list", async () => {
    const request = { workspaceId: WORKSPACE };
    await expect(vault.client.listVaults({ ...request, pageSize: 1001 })).rejects.toMatchObject(invalid("page_size"));
    await expect(vault.client.listVaults({ ...request, pageToken: "x" })).rejects.toMatchObject(invalid("page_token"));
    await newVault();
    await newVault();
    const { nextPageToken } = await vault.client.listVaults({ ...request, pageSize: 1 });
    await expect(
      vault.client.listVaults({ ...request, pageToken: nextPageToken, includeArchived: true }),
    ).rejects.toMatchObject(invalid("page_token"));
    await expect(
      vault.client.listVaults({ workspaceId: "wrkspc_else", pageToken: nextPageToken }),
    ).rejects.toMatchObject(invalid("page_token"));
  });

  const url = "https://mcp.example/x";
  it.each<[string, unknown, string]>([
    ["an unknown type", { type: "password" }, "auth.type"],
    ["no type", {}, "auth.type"],
    ["a list", [], "auth"],
    ["no token", { type: "static_bearer", mcp_server_url: url }, "auth.token"],
    ["an unknown field", { type: "static_bearer", mcp_server_url: url, token: "t", tokn: "t" }, "auth.tokn"],
    ["a token with a line break", { type: "static_bearer", mcp_server_url: url, token: "a\r\nb" }, "auth.token"],
    [
      "a URL with a password",
      { type: "static_bearer", mcp_server_url: "https://u:p@h/", token: "t" },
      "auth.mcp_server_url",
    ],
    ["a file URL", { type: "static_bearer", mcp_server_url: "file:///x", token: "t" }, "auth.mcp_server_url"],
    [
      "a past expiry",
      { type: "mcp_oauth", mcp_server_url: url, access_token: "t", expires_at: "2020-01-01T00:00:00Z" },
      "auth.expires_at",
    ],
    [
      "refresh without parts",
      { type: "mcp_oauth", mcp_server_url: url, access_token: "t", refresh: {} },
      "auth.refresh.client_id",
    ],
    [
      "a name with a dash",
      { type: "environment_variable", secret_name: "A-B", secret_value: "v", networking: { type: "unrestricted" } },
      "auth.secret_name",
    ],
    ["no networking", { type: "environment_variable", secret_name: "A", secret_value: "v" }, "auth.networking"],
    [
      "a wildcard of one label",
      {
        type: "environment_variable",
        secret_name: "A",
        secret_value: "v",
        networking: { type: "limited", allowed_hosts: ["*.com"] },
      },
      "auth.networking.allowed_hosts",
    ],
    [
      "17 hosts",
      {
        type: "environment_variable",
        secret_name: "A",
        secret_value: "v",
        networking: { type: "limited", allowed_hosts: Array.from({ length: 17 }, (_, n) => `h${n}.example`) },
      },
      "auth.networking.allowed_hosts",
    ],
    [
      "no place to inject",
      {
        type: "environment_variable",
        secret_name: "A",
        secret_value: "v",
        networking: { type: "unrestricted" },
        injection_location: {},
      },
      "auth.injection_location",
    ],
  ])("refuses an auth with %s", async (_, auth, field) => {
    const vaultId = await newVault();
    const failure = vault.client.createCredential({ workspaceId: WORKSPACE, vaultId, authJson: json(auth) });
    await expect(failure).rejects.toMatchObject({
      kind: "invalid",
      details: { fieldViolations: expect.arrayContaining([expect.objectContaining({ field })]) },
    });
    expect((await vault.client.listCredentials({ workspaceId: WORKSPACE, vaultId })).credentials).toEqual([]);
  });

  it("never shows a secret of a request it refuses", async () => {
    const secret = canary();
    const vaultId = await newVault();
    for (const text of [
      `{"type":"static_bearer","token":"${secret}"`,
      `{"type":"static_bearer","token":"${secret}"}`,
    ]) {
      const request = { workspaceId: WORKSPACE, vaultId, authJson: new TextEncoder().encode(text) };
      const failure = await vault.client.createCredential(request).catch((error: unknown) => error);
      expect(failure).toMatchObject({ kind: "invalid" });
      expect(JSON.stringify(failure) + String(failure)).not.toContain(secret);
    }
    expect(vault.logs.join("")).not.toContain(secret);
  });

  it("refuses bindings and tokens outside of the rules", async () => {
    const bind = (repository: { url: string; authorizationToken?: string }, more: { url: string }[] = []) =>
      vault.client.bindSession({ workspaceId: WORKSPACE, sessionId: "sesn_b", repositories: [repository, ...more] });
    await expect(bind({ url: "https://u:p@h/r" })).rejects.toMatchObject(invalid("repositories[0].url"));
    await expect(bind({ url: "https://h/r", authorizationToken: "a\r\nX: y" })).rejects.toMatchObject(
      invalid("repositories[0].authorization_token"),
    );
    await expect(bind({ url: "https://h/r" }, [{ url: "https://h:443/r.git" }])).rejects.toMatchObject(
      invalid("repositories[1].url"),
    );
    const mint = vault.client.mintSessionToken;
    await expect(mint({ sessionId: "x", audiences: [] })).rejects.toMatchObject(invalid("session_id", "audiences"));
    await expect(mint({ sessionId: "sesn_b", audiences: [Audience.UNSPECIFIED] })).rejects.toMatchObject(
      invalid("audiences"),
    );
    const ttl = { seconds: 3601n, nanos: 0 };
    await expect(mint({ sessionId: "sesn_b", audiences: [Audience.MODEL], ttl })).rejects.toMatchObject(invalid("ttl"));
  });
});
