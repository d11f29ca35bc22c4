import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { promisify } from "node:util";
import { Audience } from "@manyhands/protocol";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { addressOf, startVaultProxy, type TestVaultProxy, WORKSPACE } from "./testing/start.ts";

const run = promisify(execFile);
const json = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
const shown = (bytes: Uint8Array | undefined) => JSON.parse(new TextDecoder().decode(bytes));
const canary = () => `canary-${randomBytes(12).toString("hex")}`;
const invalid = (...fields: string[]) => ({
  kind: "invalid",
  details: { fieldViolations: fields.map((field) => expect.objectContaining({ field })) },
});

let vault: TestVaultProxy;
beforeAll(async () => {
  vault = await startVaultProxy();
});
afterAll(() => vault?.stop());

const newVault = async (workspaceId = WORKSPACE) => {
  const answer = await vault.client.createVault({ workspaceId, displayName: "Mine", metadata: { team: "a" } });
  return answer.vault?.id ?? "";
};
const bearer = (url: string, token = canary()) => json({ type: "static_bearer", mcp_server_url: url, token });
const newCredential = async (vaultId: string, authJson = bearer(`https://mcp.example/${canary()}`)) => {
  const { credential } = await vault.client.createCredential({ workspaceId: WORKSPACE, vaultId, authJson });
  return { workspaceId: WORKSPACE, vaultId, credentialId: credential?.id ?? "" };
};
const reveal = async (ref: { vaultId: string; credentialId: string }) => {
  const { credentials } = vault.proxy.deps;
  const fields = await credentials.reveal({ workspace: WORKSPACE, vault: ref.vaultId, credential: ref.credentialId });
  return Object.fromEntries(Object.entries(fields).map(([name, secret]) => [name, secret.reveal()]));
};

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

describe("vaults", () => {
  it("are made, read, changed, archived and deleted", async () => {
    const vaultId = await newVault();
    const ref = { workspaceId: WORKSPACE, vaultId };
    const { vault: read } = await vault.client.getVault(ref);
    expect(read).toMatchObject({ id: vaultId, displayName: "Mine", metadata: { team: "a" } });
    const { vault: updated } = await vault.client.updateVault({
      ...ref,
      displayName: "New",
      metadata: { team: "", b: "1" },
    });
    expect(updated).toMatchObject({ displayName: "New", metadata: { b: "1" } });
    expect(updated?.metadata).not.toHaveProperty("team");
    expect((await vault.client.archiveVault(ref)).vault?.archivedAt).toBeDefined();
    const ids = async (includeArchived: boolean) =>
      (await vault.client.listVaults({ workspaceId: WORKSPACE, pageSize: 1000, includeArchived })).vaults.map(
        ({ id }) => id,
      );
    expect(await ids(false)).not.toContain(vaultId);
    expect(await ids(true)).toContain(vaultId);
    await vault.client.deleteVault(ref);
    await expect(vault.client.getVault(ref)).rejects.toMatchObject({ kind: "notFound", reason: "VAULT_NOT_FOUND" });
    await expect(vault.client.deleteVault(ref)).rejects.toMatchObject({ kind: "notFound" });
  });

  it("come newest first, page by page, each once", async () => {
    const workspaceId = "wrkspc_pages";
    const made: string[] = [];
    for (let n = 0; n < 7; n += 1) {
      made.push(await newVault(workspaceId));
    }
    const seen: string[] = [];
    let pageToken = "";
    do {
      const page = await vault.client.listVaults({ workspaceId, pageSize: 3, pageToken });
      seen.push(...page.vaults.map(({ id }) => id));
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
    expect(seen).toEqual(made.toReversed());
  });

  it("answer a repeated request id with the same vault, and refuse another request under it", async () => {
    const request = { workspaceId: WORKSPACE, displayName: "Once", requestId: canary() };
    const answers = await Promise.all(Array.from({ length: 5 }, () => vault.client.createVault(request)));
    expect(new Set(answers.map((answer) => answer.vault?.id)).size).toBe(1);
    await expect(vault.client.createVault({ ...request, displayName: "Other" })).rejects.toMatchObject({
      reason: "REQUEST_ID_REUSED",
    });
    const elsewhere = await vault.client.createVault({ ...request, workspaceId: "wrkspc_else" });
    expect(elsewhere.vault?.id).not.toBe(answers[0]?.vault?.id);
  });

  it("do not exist for another workspace", async () => {
    const ref = { workspaceId: "wrkspc_stranger", vaultId: await newVault() };
    const gone = { kind: "notFound" };
    await expect(vault.client.getVault(ref)).rejects.toMatchObject(gone);
    await expect(vault.client.updateVault({ ...ref, displayName: "x" })).rejects.toMatchObject(gone);
    await expect(vault.client.archiveVault(ref)).rejects.toMatchObject(gone);
    await expect(vault.client.deleteVault(ref)).rejects.toMatchObject(gone);
    await expect(vault.client.listCredentials(ref)).rejects.toMatchObject(gone);
    const authJson = bearer("https://mcp.example/");
    await expect(vault.client.createCredential({ ...ref, authJson })).rejects.toMatchObject(gone);
  });
});

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

describe("session tokens", () => {
  it("are for MODEL without a binding, for nothing else, and never for a session that is not there", async () => {
    const { token, expiresAt } = await vault.client.mintSessionToken({
      sessionId: "sesn_free",
      audiences: [Audience.MODEL],
    });
    expect((await vault.proxy.deps.guard.admit(token, "model")).workspace).toBe(WORKSPACE);
    expect(Number(expiresAt?.seconds) * 1000 - Date.now()).toBeLessThanOrEqual(900_000);
    await expect(
      vault.client.mintSessionToken({ sessionId: "sesn_free", audiences: [Audience.MODEL, Audience.GIT] }),
    ).rejects.toMatchObject({ kind: "notFound", reason: "SESSION_NOT_BOUND" });
    await expect(
      vault.client.mintSessionToken({ sessionId: "sesn_missing", audiences: [Audience.MODEL] }),
    ).rejects.toMatchObject({ kind: "notFound", reason: "SESSION_NOT_FOUND" });
  });

  it("end with their session for good, and a session cannot be taken by another workspace", async () => {
    const sessionId = "sesn_ends";
    await vault.client.bindSession({ workspaceId: WORKSPACE, sessionId });
    await expect(vault.client.bindSession({ workspaceId: "wrkspc_else", sessionId })).rejects.toMatchObject({
      kind: "notFound",
    });
    await vault.client.revokeSession({ sessionId });
    await vault.client.revokeSession({ sessionId });
    const denied = { kind: "denied", reason: "SESSION_REVOKED" };
    await expect(vault.client.mintSessionToken({ sessionId, audiences: [Audience.MODEL] })).rejects.toMatchObject(
      denied,
    );
    await expect(vault.client.bindSession({ workspaceId: WORKSPACE, sessionId })).rejects.toMatchObject(denied);
  });
});

describe("contract", () => {
  it("lists every method to buf curl and says what is not served yet", async () => {
    const address = `http://${addressOf(vault.proxy, "grpc")}`;
    const curl = (...args: string[]) => run("buf", ["curl", "--protocol", "grpc", "--http2-prior-knowledge", ...args]);
    const { stdout } = await curl("--list-methods", address);
    for (const method of ["CreateVault", "MintSessionToken", "CallTool"]) {
      expect(stdout).toContain(`manyhands.vault.v1.VaultService/${method}`);
    }
    const path = `${address}/manyhands.vault.v1.VaultService/ListVaults`;
    expect((await curl("-d", `{"workspaceId":"${WORKSPACE}","pageSize":1}`, path)).stdout).toContain("vlt_");
    await expect(vault.client.listTools({ token: "x" })).rejects.toMatchObject({ kind: "unimplemented" });
  });
});
