import { randomBytes } from "node:crypto";
import { readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Audience } from "@manyhands/protocol";
import { eventually, type GitServer, startGitServer } from "@manyhands/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type GitInHand, gitInHand } from "../testing/git-in-hand.ts";
import { addressOf, startVaultProxy, type TestVaultProxy, WORKSPACE } from "../testing/start.ts";

const TOKEN = `canary-${randomBytes(16).toString("hex")}`;
const BASIC = Buffer.from(`x-access-token:${TOKEN}`).toString("base64");

describe("git through the proxy", () => {
  let server: GitServer;
  let vault: TestVaultProxy;
  let hand: GitInHand;

  const tokenFor = async (sessionId: string) => {
    const { token } = await vault.client.mintSessionToken({ sessionId, audiences: [Audience.GIT] });
    return token;
  };
  const bind = (sessionId: string, repositories: readonly { url: string; allowPush: boolean; token?: string }[]) =>
    vault.client.bindSession({
      workspaceId: WORKSPACE,
      sessionId,
      repositories: repositories.map(({ url, allowPush, token = TOKEN }) => ({
        url,
        allowPush,
        authorizationToken: token,
      })),
    });

  beforeAll(async () => {
    server = await startGitServer({
      repositories: {
        app: { "README.md": "hello\n" },
        readonly: { "README.md": "look\n" },
        "big/one": { "blob.bin": randomBytes(30 * 1024 * 1024) },
        other: { "README.md": "not yours\n" },
      },
      token: TOKEN,
    });
    vault = await startVaultProxy();
    await bind("sesn_git", [
      { url: server.repoUrl("app"), allowPush: true },
      { url: server.repoUrl("readonly").replace(/\.git$/, ""), allowPush: false },
      { url: server.repoUrl("big/one"), allowPush: true },
    ]);
    hand = await gitInHand(addressOf(vault.proxy, "git"), [server.url], await tokenFor("sesn_git"));
  });
  afterAll(async () => {
    await hand?.stop();
    await vault?.stop();
    await server?.stop();
  });

  it("clones, commits, pushes and fetches with plain git", async () => {
    await hand.git(hand.folder, "clone", "--quiet", server.repoUrl("app"), "app");
    const work = join(hand.folder, "app");
    expect(await readFile(join(work, "README.md"), "utf8")).toBe("hello\n");
    await writeFile(join(work, "README.md"), "changed\n");
    await hand.git(work, "commit", "--quiet", "--all", "--message=Change it");
    await hand.git(work, "push", "--quiet", "origin", "main");
    expect((await server.log("app")).map(({ subject }) => subject)).toEqual(["Change it", "Initial commit"]);
    await hand.git(hand.folder, "clone", "--quiet", "--depth=1", server.repoUrl("app"), "shallow");
    expect((await hand.git(join(hand.folder, "shallow"), "rev-list", "--count", "HEAD")).stdout.trim()).toBe("1");
    await hand.git(join(hand.folder, "shallow"), "fetch", "--quiet", "--unshallow");
    expect((await hand.git(join(hand.folder, "shallow"), "rev-list", "--count", "HEAD")).stdout.trim()).toBe("2");
    expect(server.requests.every(({ authorized, user }) => authorized && user === "x-access-token")).toBe(true);
  });

  it.each(["0", "1", "2"])("speaks protocol version %s", async (version) => {
    const before = server.requests.length;
    const { stdout } = await hand.git(
      hand.folder,
      "-c",
      `protocol.version=${version}`,
      "ls-remote",
      server.repoUrl("app"),
    );
    expect(stdout).toContain("refs/heads/main");
    const versions = server.requests.slice(before).map(({ headers }) => headers["git-protocol"]);
    expect(new Set(versions)).toEqual(new Set([version === "0" ? undefined : `version=${version}`]));
  });

  it("streams a pack of 30 MB down, and one up in chunks", async () => {
    await hand.git(hand.folder, "clone", "--quiet", server.repoUrl("big/one"), "big");
    const work = join(hand.folder, "big");
    expect((await stat(join(work, "blob.bin"))).size).toBe(30 * 1024 * 1024);
    await writeFile(join(work, "second.bin"), randomBytes(30 * 1024 * 1024));
    await hand.git(work, "add", "second.bin");
    await hand.git(work, "commit", "--quiet", "--message=More");
    const before = server.requests.length;
    await hand.git(work, "push", "--quiet", "origin", "main");
    expect((await server.log("big/one"))[0]?.subject).toBe("More");
    const push = server.requests.slice(before).filter(({ target }) => target.endsWith("/git-receive-pack"));
    expect(push.some(({ headers }) => headers["transfer-encoding"] === "chunked")).toBe(true);
  });

  it("sends compressed requests on as they are", async () => {
    // Enough branches make git's request long enough to be compressed.
    const work = join(hand.folder, "app");
    for (let n = 0; n < 30; n += 1) {
      await hand.git(work, "commit", "--quiet", "--allow-empty", `--message=Step ${n}`);
      await hand.git(work, "branch", `step-${n}`);
    }
    await hand.git(work, "push", "--quiet", "--all", "origin");
    const before = server.requests.length;
    await hand.git(hand.folder, "-c", "protocol.version=0", "clone", "--quiet", server.repoUrl("app"), "branches");
    const encodings = server.requests.slice(before).map(({ headers }) => headers["content-encoding"]);
    expect(encodings).toContain("gzip");
  });

  it("refuses to push where only reading is allowed, and says so", async () => {
    await hand.git(hand.folder, "clone", "--quiet", server.repoUrl("readonly"), "readonly");
    const work = join(hand.folder, "readonly");
    await hand.git(work, "commit", "--quiet", "--allow-empty", "--message=No");
    await expect(hand.git(work, "push", "origin", "main")).rejects.toThrow(/may read this repository, but not push/);
    expect(await server.log("readonly")).toHaveLength(1);
  });

  it("refuses repositories that are not bound, before anything leaves", async () => {
    const before = server.requests.length;
    await expect(hand.git(hand.folder, "clone", server.repoUrl("other"), "x")).rejects.toThrow(
      /not one of the session/,
    );
    expect(server.requests.length).toBe(before);
    await eventually(() =>
      vault.audit.some(({ outcome, path }) => outcome === "refused" && path.includes("/other.git")),
    );
  });

  it("explains a credential that the host refuses, without showing it", async () => {
    await bind("sesn_wrong", [{ url: server.repoUrl("app"), allowPush: true, token: "canary-wrong-token-value" }]);
    hand.useToken(await tokenFor("sesn_wrong"));
    const failure = await hand.git(hand.folder, "ls-remote", server.repoUrl("app")).catch((error: unknown) => error);
    hand.useToken(await tokenFor("sesn_git"));
    expect(String(failure)).toMatch(/refused the credential of this session/);
    expect(String(failure)).not.toContain("canary");
  });

  it("keeps the stored token when a binding is renewed without one, and takes a new one", async () => {
    await bind("sesn_rotate", [{ url: server.repoUrl("app"), allowPush: false, token: "old-and-wrong" }]);
    hand.useToken(await tokenFor("sesn_rotate"));
    await expect(hand.git(hand.folder, "ls-remote", server.repoUrl("app"))).rejects.toThrow(/refused the credential/);
    await bind("sesn_rotate", [{ url: server.repoUrl("app"), allowPush: false }]);
    await hand.git(hand.folder, "ls-remote", server.repoUrl("app"));
    await bind("sesn_rotate", [{ url: server.repoUrl("app"), allowPush: false, token: "" }]);
    await hand.git(hand.folder, "ls-remote", server.repoUrl("app"));
    hand.useToken(await tokenFor("sesn_git"));
  });

  it("stops at once when the session is revoked, and another session goes on", async () => {
    await bind("sesn_ending", [{ url: server.repoUrl("app"), allowPush: true }]);
    const token = await tokenFor("sesn_ending");
    hand.useToken(token);
    await hand.git(hand.folder, "ls-remote", server.repoUrl("app"));
    await vault.client.revokeSession({ sessionId: "sesn_ending" });
    await expect(hand.git(hand.folder, "ls-remote", server.repoUrl("app"))).rejects.toThrow(/have been revoked/);
    hand.useToken(await tokenFor("sesn_git"));
    await hand.git(hand.folder, "ls-remote", server.repoUrl("app"));
    const stored = await vault.buckets.sessions.get("sesn_ending");
    expect(Buffer.from(stored?.value ?? "").toString()).toMatch(/^\{"state":"revoked","revoked_at_ms":\d+\}$/);
  });

  it("records each use with host, path, status and bytes", async () => {
    const used = await eventually(() => {
      return vault.events.find(({ path, status }) => path === "/app.git/git-receive-pack" && status === 200);
    });
    expect(used).toMatchObject({
      session: "sesn_git",
      credentialId: "session_resource",
      method: "POST",
      host: new URL(server.url).host,
      outcome: "served",
    });
    expect(used.requestBytes).toBeGreaterThan(100);
    expect(used.responseBytes).toBeGreaterThan(10);
  });

  it("never shows the token: not in logs, facts, git's configuration or the store", async () => {
    const config = await hand.git(join(hand.folder, "app"), "config", "--list");
    // All that git can be made to tell of its requests, nothing of it hidden by git itself.
    const watched = "!GIT_TRACE_CURL=1 GIT_CURL_VERBOSE=1 GIT_TRACE_REDACT=0 git ls-remote";
    const trace = await hand.git(hand.folder, "-c", `alias.watched=${watched}`, "watched", server.repoUrl("app"));
    expect(trace.stderr).toContain("git-upload-pack");
    const stored = await vault.buckets.sessions.get("sesn_git");
    const places = [
      ...vault.logs,
      JSON.stringify(vault.audit),
      JSON.stringify(vault.events),
      config.stdout,
      trace.stderr,
      Buffer.from(stored?.value ?? "").toString("latin1"),
    ];
    expect(stored).toBeDefined();
    for (const place of places) {
      expect(place).not.toContain(TOKEN);
      expect(place).not.toContain(BASIC);
    }
  });
});
