import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Audience } from "@manyhands/protocol";
import {
  eventually,
  type NatsServer,
  startGitServer,
  startNatsServer,
  type TempDir,
  tempDir,
} from "@manyhands/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { gitInHand } from "./testing/git-in-hand.ts";
import { addressOf, startVaultProxy, type TestVaultProxy, WORKSPACE, writeKeyFile } from "./testing/start.ts";
import { BELIEVE_MS } from "./tokens/session-guard.ts";

const run = promisify(execFile);
const MAIN = join(dirname(fileURLToPath(import.meta.url)), "main.ts");
const json = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));

describe("two replicas on one NATS", () => {
  let nats: NatsServer;
  let folder: TempDir;
  let keyFile: string;
  let first: TestVaultProxy;
  let second: TestVaultProxy;
  const start = () => startVaultProxy({ natsUrl: nats.url, keyFile });

  beforeAll(async () => {
    nats = await startNatsServer();
    folder = await tempDir();
    keyFile = await writeKeyFile(folder.path);
    [first, second] = await Promise.all([start(), start()]);
  });
  afterAll(async () => {
    await Promise.all([first?.stop(), second?.stop()]);
    await nats?.stop();
    await folder?.cleanup();
  });
  const mint = async (vault: TestVaultProxy, sessionId: string, audience: Audience = Audience.GIT) => {
    const { token } = await vault.client.mintSessionToken({ sessionId, audiences: [audience] });
    return token;
  };

  it("accept each other's tokens though both started at once", async () => {
    await first.client.bindSession({ workspaceId: WORKSPACE, sessionId: "sesn_shared" });
    const claims = await second.proxy.deps.guard.admit(await mint(first, "sesn_shared"), "git");
    expect(claims.session).toBe("sesn_shared");
    await first.proxy.deps.guard.admit(await mint(second, "sesn_shared"), "git");
  });

  it("see a revocation within a second", async () => {
    await first.client.bindSession({ workspaceId: WORKSPACE, sessionId: "sesn_revoked" });
    const token = await mint(first, "sesn_revoked");
    const { guard } = second.proxy.deps;
    await guard.admit(token, "git");
    await first.client.revokeSession({ sessionId: "sesn_revoked" });
    const sinceMs = performance.now();
    await eventually(
      () =>
        guard.admit(token, "git").then(
          () => false,
          (error: { reason?: string }) => error.reason === "SESSION_REVOKED",
        ),
      { timeoutMs: 1000 },
    );
    expect(performance.now() - sinceMs).toBeLessThan(2 * BELIEVE_MS);
  });

  it("keep the vault's rules together", async () => {
    const { vault } = await first.client.createVault({ workspaceId: WORKSPACE, displayName: "Shared" });
    const authJson = json({ type: "static_bearer", mcp_server_url: "https://m.example/", token: "t" });
    const request = { workspaceId: WORKSPACE, vaultId: vault?.id ?? "", authJson };
    const racers = Array.from({ length: 10 }, (_, n) => (n % 2 ? first : second).client.createCredential(request));
    const results = await Promise.allSettled(racers);
    expect(results.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    expect((await second.client.listCredentials(request)).credentials).toHaveLength(1);
  });

  it("write each use to the audit stream without waiting for it, and none of it leaks", async () => {
    const secret = `canary-${randomBytes(12).toString("hex")}`;
    await using server = await startGitServer({ repositories: { app: { a: "1" } }, token: secret });
    const repositories = [{ url: server.repoUrl("app"), authorizationToken: secret, allowPush: true }];
    await first.client.bindSession({ workspaceId: WORKSPACE, sessionId: "sesn_audit", repositories });
    const hand = await gitInHand(addressOf(second.proxy, "git"), [server.url], await mint(first, "sesn_audit"));
    await hand.git(hand.folder, "clone", "--quiet", server.repoUrl("app"), "app");
    await hand.stop();
    const audited = async () => {
      const response = await fetch(`${nats.monitorUrl}/jsz?streams=true`);
      return Number(/"name":\s*"MH_AUDIT"[\s\S]*?"messages":\s*(\d+)/.exec(await response.text())?.[1] ?? 0) >= 2;
    };
    await eventually(audited);
    await run("sh", ["-c", `! grep -r -l --binary-files=text ${secret} ${nats.dir}`]);
    const encoded = Buffer.from(`x-access-token:${secret}`).toString("base64");
    await run("sh", ["-c", `! grep -r -l --binary-files=text ${encoded} ${nats.dir}`]);
    expect([...first.logs, ...second.logs].join("")).not.toContain(secret);
  });

  it("keep everything over a restart", async () => {
    await first.client.bindSession({ workspaceId: WORKSPACE, sessionId: "sesn_before" });
    const token = await mint(first, "sesn_before");
    const third = await start();
    await third.proxy.deps.guard.admit(token, "git");
    await third.stop();
  });

  it("do not start with another key, and say which one is wanted", async () => {
    const other = await writeKeyFile(folder.path, "other");
    await expect(startVaultProxy({ natsUrl: nats.url, keyFile: other })).rejects.toThrow(
      /the key file does not fit the stored secrets: they were sealed with kek_[0-9a-f]{16}, the file holds kek_/,
    );
  });

  it("end with a clear message when the key file is missing or open to others", async () => {
    const env = {
      PATH: process.env.PATH,
      MH_NATS_URL: nats.url,
      MH_SESSION_STORE_ADDR: "127.0.0.1:1",
      MH_VAULT_KEY_FILE: join(folder.path, "missing"),
    };
    const main = (more: object) =>
      run(process.execPath, ["--conditions=source", MAIN], { env: { ...env, ...more }, timeout: 20_000 }).then(
        () => ({ code: 0, stdout: "", stderr: "" }),
        (error: { code: number; stdout: string; stderr: string }) => error,
      );
    const missing = await main({});
    expect(missing.code).toBe(1);
    expect(missing.stdout).toMatch(/the key file .*missing cannot be opened \(ENOENT\)/);
    const unset = await main({ MH_VAULT_KEY_FILE: "", MH_MODEL_UPSTREAM_URL: "ftp://x" });
    expect(unset.code).toBe(2);
    for (const part of [
      "2 problem",
      "exactly one of MH_VAULT_KEY_FILE, MH_VAULT_KEY_BASE64 and MH_VAULT_KEY_COMMAND is required",
      "MH_MODEL_UPSTREAM_URL must be",
    ]) {
      expect(unset.stderr).toContain(part);
    }
  });
});
