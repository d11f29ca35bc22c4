/** CP26: vault-proxy is killed in the middle of a push of real git to a real server; the session's log has the truth. */
import { randomBytes } from "node:crypto";
import { writeFile } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import path from "node:path";
import type { EventOf } from "@manyhands/core";
import { createRpcClient, newId, type RpcClient } from "@manyhands/kit";
import { Audience, decodeEvent, SessionService, VaultService } from "@manyhands/protocol";
import { eventually, type GitServer, startGitServer, startNatsServer, tempDir } from "@manyhands/testkit";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type GitInHand, gitInHand } from "../../services/vault-proxy/src/testing/git-in-hand.ts";
import { ServiceProcess } from "../support/service-process.ts";

const workspaceId = "wrkspc_push";
const none = "0".repeat(40);
const closers: (() => unknown)[] = [];

let git: GitServer;
let sessions: RpcClient<typeof SessionService>;
let vault: ServiceProcess;
/** What the git server does with the next push. */
let onPush: (request: IncomingMessage, response: ServerResponse) => boolean = () => false;

beforeAll(async () => {
  const folder = await tempDir("manyhands-push-");
  closers.push(() => folder.cleanup());
  const nats = await startNatsServer({ syncAlways: true });
  closers.push(() => nats.stop());
  git = await startGitServer({
    repositories: { app: { "README.md": "hello\n" }, deaf: { "README.md": "hello\n" } },
    intercept: (request, response) =>
      request.method === "POST" && (request.url?.endsWith("/git-receive-pack") ?? false) && onPush(request, response),
  });
  closers.push(() => git.stop());
  const keyFile = path.join(folder.path, "vault.key");
  await writeFile(keyFile, randomBytes(32).toString("base64"), { mode: 0o600 });
  const make = async (service: "session-store" | "vault-proxy", env: Record<string, string>) => {
    const options = { service, name: service, folder: folder.path, env: { MH_NATS_URL: nats.url, ...env } };
    const made = await ServiceProcess.create(options);
    closers.push(() => made.end("SIGKILL"));
    await made.start();
    return made;
  };
  const store = await make("session-store", { MH_NATS_MONITOR_URL: nats.monitorUrl });
  sessions = createRpcClient(SessionService, { address: store.address, defaultDeadlineMs: 20_000 });
  closers.push(() => sessions.close());
  vault = await make("vault-proxy", {
    MH_SESSION_STORE_ADDR: store.address,
    MH_VAULT_KEY_FILE: keyFile,
    MH_RECEIPT_LEASE_MS: "500",
  });
}, 120_000);
afterAll(async () => {
  for (const closer of closers.reverse()) await closer();
});

/** A session that may push to a repository, git as it runs in its hand, and a commit that waits to be pushed. */
async function readyToPush(repository: string): Promise<{ sessionId: string; hand: GitInHand; work: string }> {
  const json = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
  const { session } = await sessions.createSession({
    workspaceId,
    requestId: newId("req"),
    agentJson: json({ model: { id: "demo-1" } }),
    environmentJson: json({ config: { type: "cloud" } }),
  });
  const sessionId = session?.id ?? "";
  const vaults = createRpcClient(VaultService, { address: vault.address, defaultDeadlineMs: 20_000 });
  const repositories = [{ url: git.repoUrl(repository), allowPush: true }];
  await vaults.bindSession({ workspaceId, sessionId, repositories });
  const { token } = await vaults.mintSessionToken({ sessionId, audiences: [Audience.GIT] });
  vaults.close();
  const hand = await gitInHand(vault.addresses.git ?? "", [git.url], token);
  await hand.git(hand.folder, "clone", "--quiet", git.repoUrl(repository), "work");
  const work = path.join(hand.folder, "work");
  await hand.git(work, "commit", "--quiet", "--allow-empty", "--message=More");
  return { sessionId, hand, work };
}

async function settledIn(sessionId: string): Promise<EventOf<"push.settled">[]> {
  const { events } = await sessions.getEvents({ sessionId, includePlatform: true, pageSize: 1000 });
  return events
    .map(decodeEvent)
    .filter((event): event is EventOf<"push.settled"> => event.type === "push.settled" && !("unknown" in event));
}

/** The one push of a session, once the log tells what came of it. */
function settled(sessionId: string): Promise<EventOf<"push.settled">> {
  return eventually(async () => (await settledIn(sessionId))[0], { timeoutMs: 60_000 });
}

it("tells that a push was done whose proxy was killed before the answer came through", async () => {
  const { sessionId, hand, work } = await readyToPush("app");
  const [head = "", before = ""] = (await hand.git(work, "rev-parse", "HEAD", "HEAD~1")).stdout.split("\n");
  onPush = (_request, response) => {
    // Git does its work; what it answers never leaves.
    response.write = () => true;
    response.end = () => response;
    response.writeHead = () => response;
    return false;
  };
  const pushed = hand.git(work, "push", "origin", "main", "main:refs/heads/made");
  pushed.catch(() => undefined);
  await eventually(async () => (await git.refs("app"))["refs/heads/made"] === head, { timeoutMs: 60_000 });
  await vault.end("SIGKILL");
  await hand.stop(); // git itself would wait for its tunnel
  await expect(pushed).rejects.toThrow();
  onPush = () => false;
  await vault.start();
  expect(await settled(sessionId)).toMatchObject({
    url: git.repoUrl("app"),
    outcome: "COMPLETED",
    refs: [
      { ref: "refs/heads/main", old: before, new: head, outcome: "COMPLETED" },
      { ref: "refs/heads/made", old: none, new: head, outcome: "COMPLETED" },
    ],
  });
}, 120_000);

it("tells that a push was not done that the server never began, and forgets one that was answered", async () => {
  const { sessionId, hand, work } = await readyToPush("deaf");
  let hasBegun = false;
  onPush = (request) => {
    hasBegun = true;
    request.resume();
    return true; // and never an answer
  };
  const pushed = hand.git(work, "push", "origin", "main");
  pushed.catch(() => undefined);
  await eventually(() => hasBegun, { timeoutMs: 60_000 });
  await vault.end("SIGKILL");
  await hand.stop(); // git itself would wait for its tunnel
  await expect(pushed).rejects.toThrow();
  onPush = () => false;
  await vault.start();
  expect(await settled(sessionId)).toMatchObject({ outcome: "NOT_STARTED" });
  const again = await readyToPush("deaf");
  await again.hand.git(again.work, "push", "--quiet", "origin", "main");
  expect(await settledIn(again.sessionId)).toEqual([]);
  await again.hand.stop();
  expect((await git.log("deaf"))[0]?.subject).toBe("More");
}, 120_000);
