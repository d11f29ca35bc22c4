/** Pushes of real git whose exchange breaks while the proxy lives. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { join } from "node:path";
import { Audience } from "@manyhands/protocol";
import { eventually, type GitServer, startGitServer } from "@manyhands/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type GitInHand, gitInHand } from "../testing/git-in-hand.ts";
import { addressOf, startVaultProxy, type TestVaultProxy, WORKSPACE } from "../testing/start.ts";

describe("a push", () => {
  let server: GitServer;
  let vault: TestVaultProxy;
  let hand: GitInHand;
  let onPush: (request: IncomingMessage, response: ServerResponse) => boolean = () => false;
  let work = "";

  beforeAll(async () => {
    server = await startGitServer({
      repositories: { app: { "README.md": "hello\n" } },
      intercept: (request, response) =>
        request.method === "POST" && (request.url?.endsWith("/git-receive-pack") ?? false) && onPush(request, response),
    });
    vault = await startVaultProxy();
    const repositories = [{ url: server.repoUrl("app"), allowPush: true }];
    await vault.client.bindSession({ workspaceId: WORKSPACE, sessionId: "sesn_push", repositories });
    const { token } = await vault.client.mintSessionToken({ sessionId: "sesn_push", audiences: [Audience.GIT] });
    hand = await gitInHand(addressOf(vault.proxy, "git"), [server.url], token);
    await hand.git(hand.folder, "clone", "--quiet", server.repoUrl("app"), "app");
    work = join(hand.folder, "app");
  });
  afterAll(async () => {
    await hand?.stop();
    await vault?.stop();
    await server?.stop();
  });

  const commit = async (message: string) => {
    await hand.git(work, "commit", "--quiet", "--allow-empty", `--message=${message}`);
    return (await hand.git(work, "rev-parse", "HEAD")).stdout.trim();
  };
  const noted = () => vault.buckets.receipts.keys("push");

  it("is noted while it is under way, and forgotten once it is answered", async () => {
    const head = await commit("One");
    let during: readonly string[] = [];
    onPush = (request) => {
      void noted().then((keys) => {
        during = keys;
      });
      request.pause();
      return false;
    };
    await hand.git(work, "push", "--quiet", "origin", "main");
    expect(during).toEqual([expect.stringMatching(/^push\.sesn_push\.push_/)]);
    await eventually(async () => (await noted()).length === 0);
    expect((await server.refs("app"))["refs/heads/main"]).toBe(head);
    expect(vault.pushes).toEqual([]);
  });

  it("that took effect and lost its answer is told as done", async () => {
    const head = await commit("Two");
    onPush = (_request, response) => {
      response.end = () => response.destroy();
      response.write = () => true;
      response.writeHead = () => response;
      return false;
    };
    await expect(hand.git(work, "push", "origin", "main")).rejects.toThrow();
    const [session, event] = await eventually(() => vault.pushes[0], { timeoutMs: 30_000 });
    expect(session).toBe("sesn_push");
    expect(event).toMatchObject({ outcome: "COMPLETED", refs: [{ ref: "refs/heads/main", new: head }] });
    await eventually(async () => (await noted()).length === 0);
  });

  it("that the host refuses is answered, not settled", async () => {
    await commit("Three");
    onPush = (request, response) => {
      request.resume();
      response.writeHead(403).end();
      return true;
    };
    await expect(hand.git(work, "push", "origin", "main")).rejects.toThrow();
    await eventually(async () => (await noted()).length === 0);
    expect(vault.pushes).toHaveLength(1);
  });
});
