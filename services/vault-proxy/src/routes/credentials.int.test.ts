import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startVaultProxy, type TestVaultProxy, WORKSPACE } from "../testing/start.ts";
import { bearer, canary, invalid, json, shown, vaultCalls } from "../testing/vault-calls.ts";

let vault: TestVaultProxy;
beforeAll(async () => {
  vault = await startVaultProxy();
});
afterAll(() => vault?.stop());
const { newVault, newCredential, reveal } = vaultCalls(() => vault);

describe("credentials", () => {
  it("keep their secret to themselves, whatever the type", async () => {
    const vaultId = await newVault();
    const secrets = Array.from({ length: 5 }, canary);
    const [token, access, refresh, client, value] = secrets;
    const networking = { type: "limited", allowed_hosts: ["api.example", "*.svc.example"] };
    const token_endpoint_auth = { type: "client_secret_post", client_secret: client };
    const auths = [
      { type: "static_bearer", mcp_server_url: "https://a.example/mcp", token },
      {
        type: "mcp_oauth",
        mcp_server_url: "https://b.example/mcp",
        access_token: access,
        expires_at: "2099-01-01T00:00:00Z",
        refresh: {
          client_id: "c",
          refresh_token: refresh,
          token_endpoint: "https://b.example/token",
          token_endpoint_auth,
          scope: "read",
        },
      },
      { type: "environment_variable", secret_name: "API_KEY", secret_value: value, networking },
    ];
    const answers: unknown[] = [];
    for (const auth of auths) {
      const ref = await newCredential(vaultId, json(auth));
      answers.push(await vault.client.getCredential(ref));
    }
    answers.push(await vault.client.listCredentials({ workspaceId: WORKSPACE, vaultId }));
    const listed = await vault.client.listCredentials({ workspaceId: WORKSPACE, vaultId });
    expect(listed.credentials.map(({ authJson }) => shown(authJson))).toEqual([
      {
        type: "environment_variable",
        secret_name: "API_KEY",
        networking,
        injection_location: { header: true, body: true },
      },
      {
        type: "mcp_oauth",
        mcp_server_url: "https://b.example/mcp",
        expires_at: "2099-01-01T00:00:00.000Z",
        refresh: {
          client_id: "c",
          token_endpoint: "https://b.example/token",
          token_endpoint_auth: { type: "client_secret_post" },
          resource: null,
          scope: "read",
        },
      },
      { type: "static_bearer", mcp_server_url: "https://a.example/mcp" },
    ]);
    const buckets = [vault.buckets.vaults, vault.buckets.secrets];
    const stored = await Promise.all(
      buckets.map(async (bucket) => {
        const keys = [
          ...(await bucket.keys("vault")),
          ...(await bucket.keys("credential")),
          ...(await bucket.keys("secret")),
        ];
        const entries = await Promise.all(keys.map((key) => bucket.get(key)));
        return entries.map((entry) => Buffer.from(entry?.value ?? "").toString()).join("");
      }),
    );
    const bytesOf = (answer: unknown) =>
      JSON.stringify(answer, (_, part: unknown) => {
        if (typeof part === "bigint") return part.toString();
        return part instanceof Uint8Array ? Buffer.from(part).toString() : part;
      });
    for (const secret of secrets) {
      for (const place of [...answers.map(bytesOf), ...stored, ...vault.logs]) {
        expect(place).not.toContain(secret);
      }
    }
  });

  it("merge an update: what is left out stays, what cannot change is refused", async () => {
    const vaultId = await newVault();
    const ref = await newCredential(
      vaultId,
      json({
        type: "mcp_oauth",
        mcp_server_url: "https://b.example/mcp",
        access_token: "access-1",
        expires_at: "2099-01-01T00:00:00Z",
        refresh: {
          client_id: "c",
          refresh_token: "refresh-1",
          token_endpoint: "https://b.example/token",
          token_endpoint_auth: { type: "client_secret_basic", client_secret: "client-1" },
          scope: "read",
        },
      }),
    );
    const update = (auth: unknown) => vault.client.updateCredential({ ...ref, authJson: json(auth) });
    const { credential } = await update({ type: "mcp_oauth", access_token: "access-2", refresh: { scope: "" } });
    expect(shown(credential?.authJson)).toMatchObject({
      expires_at: "2099-01-01T00:00:00.000Z",
      refresh: { scope: null },
    });
    expect(await reveal(ref)).toEqual({
      access_token: "access-2",
      refresh_token: "refresh-1",
      client_secret: "client-1",
    });
    await expect(update({ type: "static_bearer", token: "x" })).rejects.toMatchObject({ kind: "invalid" });
    await expect(update({ type: "mcp_oauth", mcp_server_url: "https://x.example/" })).rejects.toMatchObject(
      invalid("auth.mcp_server_url"),
    );
    await expect(
      update({ type: "mcp_oauth", refresh: { token_endpoint: "https://x.example/" } }),
    ).rejects.toMatchObject(invalid("auth.refresh.token_endpoint"));
    await vault.client.updateCredential({ ...ref, displayName: "Named" });
    expect(await reveal(ref)).toMatchObject({ access_token: "access-2" });
    expect(await vault.buckets.secrets.keys(`secret.${WORKSPACE}.${vaultId}`)).toHaveLength(1);
  });

  it("are one per target: the second is refused, after archiving it is not", async () => {
    const vaultId = await newVault();
    const ref = await newCredential(vaultId, bearer("https://mcp.example/one"));
    const again = () => newCredential(vaultId, bearer("https://MCP.example:443/one"));
    await expect(again()).rejects.toMatchObject({ kind: "conflict", reason: "TARGET_TAKEN" });
    const { credential } = await vault.client.archiveCredential(ref);
    expect(credential?.archivedAt).toBeDefined();
    await expect(reveal(ref)).rejects.toMatchObject({ kind: "notFound" });
    expect(await vault.buckets.secrets.keys(`secret.${WORKSPACE}.${vaultId}`)).toEqual([]);
    await expect(vault.client.updateCredential({ ...ref, displayName: "x" })).rejects.toMatchObject({
      reason: "CREDENTIAL_ARCHIVED",
    });
    await again();
    expect((await vault.client.listCredentials({ workspaceId: WORKSPACE, vaultId })).credentials).toHaveLength(1);
    await vault.client.deleteCredential(ref);
    await expect(vault.client.getCredential(ref)).rejects.toMatchObject({ reason: "CREDENTIAL_NOT_FOUND" });
  });

  it("let exactly one of many racers take a target, and exactly 20 be active", async () => {
    const vaultId = await newVault();
    const racers = Array.from({ length: 8 }, () => newCredential(vaultId, bearer("https://mcp.example/race")));
    const results = await Promise.allSettled(racers);
    expect(results.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    for (let n = 1; n < 20; n += 1) {
      await newCredential(vaultId);
    }
    await expect(newCredential(vaultId)).rejects.toMatchObject({ kind: "exhausted", reason: "TOO_MANY_CREDENTIALS" });
    expect(await vault.buckets.secrets.keys(`secret.${WORKSPACE}.${vaultId}`)).toHaveLength(20);
  });

  it("answer a repeated request id with the same credential", async () => {
    const vaultId = await newVault();
    const request = {
      workspaceId: WORKSPACE,
      vaultId,
      authJson: bearer("https://mcp.example/once"),
      requestId: canary(),
    };
    const first = await vault.client.createCredential(request);
    expect((await vault.client.createCredential(request)).credential?.id).toBe(first.credential?.id);
    expect(await vault.buckets.secrets.keys(`secret.${WORKSPACE}.${vaultId}`)).toHaveLength(1);
  });

  it("go with their vault", async () => {
    const vaultId = await newVault();
    const ref = await newCredential(vaultId);
    await vault.client.archiveVault({ workspaceId: WORKSPACE, vaultId });
    expect((await vault.client.getCredential(ref)).credential?.archivedAt).toBeDefined();
    await expect(newCredential(vaultId)).rejects.toMatchObject({ reason: "VAULT_ARCHIVED" });
    await vault.client.deleteVault({ workspaceId: WORKSPACE, vaultId });
    expect(await vault.buckets.vaults.keys(`credential.${WORKSPACE}.${vaultId}`)).toEqual([]);
    expect(await vault.buckets.secrets.keys(`secret.${WORKSPACE}.${vaultId}`)).toEqual([]);
  });

  it("do not open when their ciphertexts are swapped in the store", async () => {
    const vaultId = await newVault();
    const refs = [await newCredential(vaultId), await newCredential(vaultId)] as const;
    const keys = await vault.buckets.secrets.keys(`secret.${WORKSPACE}.${vaultId}`);
    const [a, b] = await Promise.all(keys.map((key) => vault.buckets.secrets.get(key)));
    if (!a || !b) throw new Error("two secrets were stored");
    await vault.buckets.secrets.update(a.key, b.value, a.revision);
    const results = await Promise.allSettled(refs.map(reveal));
    expect(results.map(({ status }) => status).toSorted()).toEqual(["fulfilled", "rejected"]);
  });
});
