/** Hands passed between sessions: real engine, real records, real logs, two managers. */
import { createRpcClient, newId } from "@manyhands/kit";
import { decodeEvent, HandState, MemoryService, Outcome } from "@manyhands/protocol";
import { eventually, type NatsServer, startNatsServer } from "@manyhands/testkit";
import Docker from "dockerode";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { containerName } from "../drivers/docker/container-spec.ts";
import {
  collectResponses,
  executeCall,
  type ManagerProcess,
  type SandboxClient,
  startManagerProcess,
} from "../testing/manager-process.ts";
import { type SessionStoreProcess, startSessionStoreProcess } from "../testing/session-store-process.ts";
import { ensureTestImages } from "../testing/test-images.ts";

const docker = new Docker({ socketPath: "/var/run/docker.sock" });
const WORKSPACE = "wrkspc_grants";
let nats: NatsServer;
let store: SessionStoreProcess;
let one: ManagerProcess;
let two: ManagerProcess;
const sessions: string[] = [];

const env = () => ({ MH_NATS_URL: nats.url, MH_SESSION_STORE_ADDR: store.address, MH_HAND_SWEEP_MS: "500" });

async function newSession(workspaceId = WORKSPACE, resources: readonly unknown[] = []): Promise<string> {
  const sessionId = await store.newSession(workspaceId, resources);
  sessions.push(sessionId);
  return sessionId;
}

/** Session A with a hand that manager `one` holds, and session B. */
async function twoSessions() {
  const [a, b] = await Promise.all([newSession(), newSession()]);
  const { hand } = await one.client.provision({ sessionId: a, epoch: 7n });
  return { a, b, handId: hand?.id ?? "" };
}

type Caller = { readonly sessionId: string; readonly grantToken?: string };
const run = (client: SandboxClient, handId: string, caller: Caller, command: string, epoch = 1n) =>
  executeCall(client, { handId, input: { command }, epoch, ...caller }).then(({ result }) => result);

/** Types and grants of what a session's log says about its hands, but for their uses. */
async function handEvents(sessionId: string) {
  return (await logOf(sessionId)).filter(({ type }) => type.startsWith("hand.") && type !== "hand.used");
}

/** What a session's log says of other sessions' calls in its hands. */
async function uses(sessionId: string) {
  return (await logOf(sessionId)).filter(({ type }) => type === "hand.used");
}

/** Paths below /workspace. */
async function filesIn(client: SandboxClient, handId: string, caller: Partial<Caller> = {}): Promise<string[]> {
  const paths: string[] = [];
  for await (const { path } of client.readFiles({ handId, path: "/workspace", ...caller })) paths.push(path);
  return paths;
}

async function logOf(sessionId: string) {
  const { events } = await store.sessions.getEvents({ workspaceId: "", sessionId, includePlatform: true });
  return events.map(decodeEvent);
}

beforeAll(async () => {
  await ensureTestImages(docker);
  nats = await startNatsServer({ syncAlways: true });
  store = await startSessionStoreProcess(nats);
  [one, two] = await Promise.all([startManagerProcess(env()), startManagerProcess(env())]);
}, 300_000);

afterEach(async () => {
  for (const sessionId of sessions.splice(0)) await two.client.release({ sessionId });
});

afterAll(async () => {
  await one?.stop();
  await two?.stop();
  await store?.stop();
  await nats?.stop();
});

test("a session goes on in another one's live container by a grant, through any manager, and both logs say so", async () => {
  const { a, b, handId } = await twoSessions();
  await run(one.client, handId, { sessionId: a }, "cd /tmp; export GREETING=hello; echo kept > /workspace/file", 7n);
  // The handle alone is nothing: neither to B, nor to a guess.
  for (const { client } of [one, two]) {
    await expect(run(client, handId, { sessionId: b }, "true")).rejects.toMatchObject({ kind: "notFound" });
    const guess = { sessionId: b, grantToken: `mhg1.${handId}.${newId("grant")}.${"A".repeat(43)}` };
    await expect(run(client, handId, guess, "true")).rejects.toMatchObject({ kind: "notFound" });
    await expect(client.getHand({ handId, sessionId: b })).rejects.toMatchObject({ kind: "notFound" });
  }
  const requestId = newId("req");
  const wish = { handId, sessionId: a, toSessionId: b, rights: ["execute"], requestId };
  const { grantId, token } = await two.client.grant(wish);
  expect((await one.client.grant(wish)).token).toBe(token);
  const caller = { sessionId: b, grantToken: token };
  // The same shell, at a lower epoch than A's: each session's brains are fenced among themselves.
  const command = 'echo "$GREETING $PWD $(cat /workspace/file)"; echo from b > /workspace/b';
  expect((await run(two.client, handId, caller, command, 2n)).content).toBe("hello /tmp kept\n");
  expect((await run(one.client, handId, { sessionId: a }, "cat /workspace/b", 7n)).content).toBe("from b\n");
  await expect(run(one.client, handId, caller, "true", 1n)).rejects.toMatchObject({ kind: "fenced" });
  await expect(run(two.client, handId, { ...caller, sessionId: a }, "true", 7n)).rejects.toMatchObject({
    kind: "notFound",
  });
  const granted = { type: "hand.granted", hand_id: handId, grant_id: grantId, to_session_id: b, rights: ["execute"] };
  for (const sessionId of [a, b]) expect(await handEvents(sessionId)).toMatchObject([granted]);
  expect((await handEvents(a))[0]).not.toHaveProperty("received");
  expect((await handEvents(b))[0]).toHaveProperty("received", true);
  // The log names the grant; its token only the session that received it is given again.
  expect(await two.client.getGrant({ grantId, sessionId: b })).toMatchObject({ handId, token, rights: ["execute"] });
  await expect(two.client.getGrant({ grantId, sessionId: a })).rejects.toMatchObject({ kind: "notFound" });
});

test("revoking cuts the running call of the grant and of those made from it, and of nobody else", async () => {
  const { a, b, handId } = await twoSessions();
  const c = await newSession();
  const { grantId, token } = await one.client.grant({
    handId,
    sessionId: a,
    toSessionId: b,
    rights: ["execute", "attach", "transfer"],
  });
  const weaker = await two.client.narrowGrant({ token, sessionId: b, toSessionId: c, rights: ["execute", "attach"] });
  const own = newId("sevt");
  // A shell of its own for each: parallel operations of one shell would wait for one another.
  const long = "(echo begun; sleep 50; echo $? > /workspace/survived)";
  let begun = 0;
  const watch = () => {
    begun++;
  };
  const call = (operationId: string, caller: Caller, client: SandboxClient) =>
    executeCall(client, { handId, operationId, input: { command: long }, epoch: 1n, ...caller }, watch);
  const ofC = newId("sevt");
  const byC = call(ofC, { sessionId: c, grantToken: weaker.token }, two.client);
  await eventually(() => begun === 1);
  const followed = collectResponses(
    one.client.attach({ handId, operationId: ofC, sessionId: b, grantToken: token }),
    watch,
  ).catch((error: unknown) => error);
  await eventually(() => begun === 2);
  const startedMs = Date.now();
  await two.client.revokeGrant({ grantId, sessionId: a });
  const { result } = await byC;
  expect(Date.now() - startedMs).toBeLessThan(5000);
  expect(result).toMatchObject({ outcome: Outcome.KILLED, killedBy: "cancel", isError: true });
  expect(result.content).toContain("the right to use this sandbox was revoked");
  const seen = await followed;
  if ("kind" in Object(seen)) expect(seen).toMatchObject({ kind: "denied", reason: "GRANT_REVOKED" });
  else expect(seen).toMatchObject({ result: { outcome: Outcome.KILLED } });
  const revoked = { kind: "denied", reason: "GRANT_REVOKED" };
  for (const { client } of [one, two]) {
    await expect(run(client, handId, { sessionId: b, grantToken: token }, "true")).rejects.toMatchObject(revoked);
    await expect(run(client, handId, { sessionId: c, grantToken: weaker.token }, "true")).rejects.toMatchObject(
      revoked,
    );
  }
  // A itself works on, in the same container; the killed tree is gone.
  const after = await executeCall(one.client, {
    handId,
    operationId: own,
    input: { command: "ls /workspace; ps | grep -c '[s]leep 50'" },
    epoch: 7n,
    sessionId: a,
  });
  expect(after.output.toString()).toBe("0\n");
  await one.client.revokeGrant({ grantId, sessionId: a }); // once more is fine, and told once
  const types = async (sessionId: string) => (await handEvents(sessionId)).map(({ type }) => type);
  expect(await types(a)).toEqual(["hand.granted", "hand.granted", "hand.revoked", "hand.revoked"]);
  expect(await types(b)).toEqual(["hand.granted", "hand.granted", "hand.revoked", "hand.revoked"]);
  expect(await types(c)).toEqual(["hand.granted", "hand.revoked"]);
});

test("the owner's log names every call of others in its hand, each once, before it begins", async () => {
  const { a, b, handId } = await twoSessions();
  const { grantId, token } = await one.client.grant({ handId, sessionId: a, toSessionId: b, rights: ["execute"] });
  const caller = { sessionId: b, grantToken: token };
  const operationId = newId("sevt");
  const call = { handId, operationId, input: { command: "sleep 50" }, epoch: 1n, ...caller };
  const running = executeCall(two.client, call).then(({ result }) => result);
  const used = { hand_id: handId, grant_id: grantId, by_session_id: b, operation_id: operationId, tool: "bash" };
  await eventually(async () => (await uses(a)).length === 1);
  expect(await uses(a)).toMatchObject([used]);
  // The same call through the other manager attaches, and is told once.
  const again = executeCall(one.client, call).then(({ result }) => result);
  const look = { handId, name: "glob", input: { pattern: "*" }, epoch: 1n, ...caller };
  await executeCall(one.client, look);
  await one.client.revokeGrant({ grantId, sessionId: a });
  expect([await running, await again]).toMatchObject([{ outcome: Outcome.KILLED }, { outcome: Outcome.KILLED }]);
  await expect(executeCall(one.client, look)).rejects.toMatchObject({ reason: "GRANT_REVOKED" });
  await run(one.client, handId, { sessionId: a }, "true", 7n);
  expect(await uses(a)).toMatchObject([used, { ...used, operation_id: expect.any(String), tool: "glob" }]);
  expect(await uses(b)).toEqual([]);
});

test("what is no tool call, done in another session's hand, stands in both logs", async () => {
  const { a, b, handId } = await twoSessions();
  const rights = ["execute", "read", "attach"];
  const { grantId, token } = await one.client.grant({ handId, sessionId: a, toSessionId: b, rights });
  const caller = { sessionId: b, grantToken: token };
  const [ofA, ofB] = [newId("sevt"), newId("sevt")];
  const input = { command: "echo of a > /workspace/file; cat /workspace/file" };
  await executeCall(one.client, { handId, operationId: ofA, input, epoch: 7n, sessionId: a });
  const follow = (client: SandboxClient, operationId: string) =>
    collectResponses(client.attach({ handId, operationId, ...caller }));
  for (const { client } of [one, two]) expect((await follow(client, ofA)).output.toString()).toBe("of a\n");
  const call = { handId, operationId: ofB, input: { command: "sleep 50" }, epoch: 1n, ...caller };
  const running = executeCall(two.client, call).then(({ result }) => result);
  await eventually(async () => (await uses(a)).length === 2);
  const cancel = { handId, operationId: ofB, epoch: 1n, ...caller };
  for (const { client } of [two, one]) {
    await eventually(async () => (await client.cancelOperation(cancel)).outcome === Outcome.KILLED);
  }
  expect(await running).toMatchObject({ outcome: Outcome.KILLED });
  expect((await follow(one.client, ofB)).result).toMatchObject({ outcome: Outcome.KILLED }); // its own: told as a call already
  expect(await filesIn(two.client, handId, caller)).toEqual(["file"]);
  const by = { type: "hand.used", hand_id: handId, grant_id: grantId, by_session_id: b };
  const [called, ...others] = [
    { ...by, operation_id: ofB, tool: "bash" },
    { ...by, operation_id: ofA, tool: "", use: "attach" },
    { ...by, operation_id: ofB, tool: "", use: "cancel" },
    { ...by, operation_id: "", tool: "", use: "read_files", path: "/workspace" },
  ];
  expect(await uses(a)).toMatchObject([others[0], called, ...others.slice(1)]);
  expect(await uses(b)).toMatchObject(others);
});

test("what background processes wrote into a memory is kept, whichever manager gives the hand back", async () => {
  const memories = createRpcClient(MemoryService, { address: store.address, defaultDeadlineMs: 20_000 });
  const doomed = await startManagerProcess(env());
  for (const holder of [one, doomed]) {
    const { store: made } = await memories.createMemoryStore({ workspaceId: WORKSPACE, name: "Notes" });
    const storeId = made?.id ?? "";
    const given = { type: "memory_store", memory_store_id: storeId, access: "read_write" };
    const sessionId = await newSession(WORKSPACE, [given]);
    const mountedMemories = [{ storeId, path: "/mnt/memory/notes", writable: true }];
    const { hand } = await holder.client.provision({ sessionId, recipe: { mountedMemories } });
    const handId = hand?.id ?? "";
    const late = "(sleep 0.2; echo late > /mnt/memory/notes/late.md; touch /workspace/written) > /dev/null 2>&1 &";
    await run(holder.client, handId, { sessionId }, late);
    await eventually(async () => (await filesIn(holder.client, handId)).includes("written"));
    if (holder === doomed) await doomed.kill9();
    await two.client.release({ sessionId, reason: "session_end" });
    const { items } = await memories.listMemories({ workspaceId: WORKSPACE, storeId, pageSize: 10 });
    expect(items.map(({ item }) => item.case === "memory" && item.value.path)).toEqual(["/late.md"]);
  }
  memories.close();
});

test("narrowing only takes away, time ends a grant and its operation, and what is not granted is refused", async () => {
  const { a, b, handId } = await twoSessions();
  const c = await newSession();
  const grant = { handId, sessionId: a, toSessionId: b };
  const { token } = await one.client.grant({ ...grant, rights: ["execute", "read"], tools: ["bash", "read"] });
  const caller = { sessionId: b, grantToken: token };
  const narrow = { token, sessionId: b };
  const fields = (names: string[]) => ({
    kind: "invalid",
    details: { fieldViolations: names.map((field) => ({ field })) },
  });
  const more = { ...narrow, rights: ["attach"], tools: ["write"], ttl: { seconds: 7200n } };
  await expect(one.client.narrowGrant(more)).rejects.toMatchObject(fields(["rights", "tools", "ttl"]));
  await expect(one.client.narrowGrant({ ...narrow, toSessionId: c, rights: ["read"] })).rejects.toMatchObject({
    reason: "GRANT_RIGHT", // passing on needs `transfer`
  });
  const { token: reading } = await two.client.narrowGrant({ ...narrow, rights: ["read"] });
  await run(one.client, handId, caller, "echo text > /workspace/file");
  const look = { handId, name: "read", input: { file_path: "/workspace/file" }, sessionId: b, grantToken: reading };
  expect((await executeCall(two.client, look)).result.content).toContain("text");
  const refused = (reason: string) => ({ kind: "denied", reason });
  await expect(run(one.client, handId, { ...caller, grantToken: reading }, "true")).rejects.toMatchObject(
    refused("GRANT_RIGHT"),
  );
  const written = { ...look, name: "write", input: { file_path: "/workspace/x", content: "" }, grantToken: token };
  await expect(executeCall(one.client, written)).rejects.toMatchObject(refused("GRANT_TOOL"));
  const notBegunByB = two.client.attach({ handId, operationId: "sevt_of_a", ...caller });
  await expect(collectResponses(notBegunByB)).rejects.toMatchObject({ kind: "notFound" });
  const short = await two.client.grant({ ...grant, rights: ["execute"], ttl: { seconds: 1n } });
  const timed = { sessionId: b, grantToken: short.token };
  expect(await run(two.client, handId, timed, "sleep 30")).toMatchObject({
    outcome: Outcome.KILLED,
    killedBy: "timeout",
  });
  await expect(run(one.client, handId, timed, "true")).rejects.toMatchObject(refused("GRANT_EXPIRED"));
});

test("sessions of another workspace, hands of an older generation and strangers are refused", async () => {
  const { a, b, handId } = await twoSessions();
  const foreign = await newSession("wrkspc_other");
  const wish = { handId, sessionId: a, rights: ["execute"] };
  const notFound = { kind: "notFound" };
  await expect(one.client.grant({ ...wish, toSessionId: foreign })).rejects.toMatchObject(notFound);
  await expect(one.client.grant({ ...wish, toSessionId: newId("sesn") })).rejects.toMatchObject(notFound);
  await expect(one.client.grant({ ...wish, sessionId: b, toSessionId: b })).rejects.toMatchObject(notFound);
  await expect(one.client.transferHand({ handId, sessionId: a, toSessionId: foreign })).rejects.toMatchObject(notFound);
  await expect(one.client.transferHand({ handId, sessionId: b, toSessionId: b })).rejects.toMatchObject(notFound);
  const { grantId, token } = await one.client.grant({ ...wish, toSessionId: b });
  await expect(two.client.revokeGrant({ grantId, sessionId: foreign })).rejects.toMatchObject(notFound);
  await docker.getContainer(containerName(handId)).kill();
  await eventually(async () => (await one.client.getHand({ handId })).hand?.state === HandState.LOST);
  const { hand } = await one.client.provision({ sessionId: a, epoch: 7n });
  await expect(two.client.grant({ ...wish, toSessionId: b })).rejects.toMatchObject({
    reason: "HAND_REPLACED",
    details: { metadata: { current_hand_id: hand?.id, generation: "2" } },
  });
  // The grant was for the lost hand: it is told so, and its successor is not reached by it.
  expect(await run(one.client, handId, { sessionId: b, grantToken: token }, "true")).toMatchObject({ handLost: true });
  await expect(run(one.client, hand?.id ?? "", { sessionId: b, grantToken: token }, "true")).rejects.toMatchObject(
    notFound,
  );
});

test("a transfer moves the live hand: the other session has it by name, ends it, and the first one makes a new one", async () => {
  const { a, b, handId } = await twoSessions();
  await run(one.client, handId, { sessionId: a }, "cd /tmp; echo kept > /workspace/file", 7n);
  const { token } = await one.client.grant({ handId, sessionId: a, toSessionId: b, rights: ["execute"] });
  const { hand } = await two.client.transferHand({ handId, sessionId: a, toSessionId: b });
  expect(hand).toMatchObject({ id: handId, sessionId: b, name: "default", state: HandState.READY });
  const c = await newSession();
  const { token: anew } = await two.client.grant({ handId, sessionId: b, toSessionId: c, rights: ["execute"] });
  await two.client.transferHand({ handId, sessionId: a, toSessionId: b }); // once more is fine, and ends nothing of B's
  expect((await run(one.client, handId, { sessionId: c, grantToken: anew }, "cat /workspace/file")).content).toBe(
    "kept\n",
  );
  const { hand: found, reused } = await two.client.provision({ sessionId: b, epoch: 1n });
  expect([found?.id, reused]).toEqual([handId, true]);
  expect((await run(two.client, handId, { sessionId: b }, "pwd; cat /workspace/file")).content).toBe("/tmp\nkept\n");
  await expect(run(one.client, handId, { sessionId: a }, "true", 7n)).rejects.toMatchObject({ kind: "fenced" });
  await expect(run(one.client, handId, { sessionId: b, grantToken: token }, "true")).rejects.toMatchObject({
    reason: "GRANT_REVOKED", // what A had granted ended with its own right
  });
  const { hand: own } = await one.client.provision({ sessionId: a, epoch: 7n });
  expect(own?.id).not.toBe(handId);
  await expect(one.client.transferHand({ handId, sessionId: b, toSessionId: a })).rejects.toMatchObject({
    reason: "NAME_TAKEN",
  });
  const types = async (sessionId: string) => (await handEvents(sessionId)).map(({ type }) => type);
  expect(await types(a)).toEqual(["hand.granted", "hand.revoked", "hand.released"]);
  expect(await types(b)).toEqual(["hand.granted", "hand.revoked", "hand.provisioned", "hand.granted"]);
  // The end of A does not touch it, the end of B does.
  await two.client.release({ sessionId: a, reason: "session_end" });
  expect((await run(one.client, handId, { sessionId: b }, "echo alive")).content).toBe("alive\n");
  expect((await one.client.release({ sessionId: b, reason: "session_end" })).handIds).toEqual([handId]);
  await expect(docker.getContainer(containerName(handId)).inspect()).rejects.toMatchObject({ statusCode: 404 });
});

test("a revocation finds what was begun through a manager that was killed since", async () => {
  const [a, b] = await Promise.all([newSession(), newSession()]);
  const doomed = await startManagerProcess(env());
  const { hand } = await doomed.client.provision({ sessionId: a });
  const handId = hand?.id ?? "";
  const { grantId, token } = await one.client.grant({ handId, sessionId: a, toSessionId: b, rights: ["execute"] });
  const call = {
    handId,
    operationId: newId("sevt"),
    input: { command: "echo begun; sleep 50" },
    sessionId: b,
    grantToken: token,
  };
  let killed: Promise<void> | undefined;
  const through = executeCall(two.client, call, () => {
    killed ??= doomed.kill9();
  }).then(
    ({ result }) => result,
    (error: unknown) => error,
  );
  await eventually(() => killed !== undefined);
  await killed;
  await one.client.revokeGrant({ grantId, sessionId: a });
  const ended = await through;
  // Cut while it was followed, or refused when `two` asked on its behalf at the hand's next manager.
  if ("outcome" in Object(ended)) expect(ended).toMatchObject({ outcome: Outcome.KILLED });
  else expect(ended).toMatchObject({ reason: "GRANT_REVOKED" });
  const { result } = await executeCall(one.client, { handId, input: { command: "ps | grep -c '[s]leep 50'" } });
  expect(result.content).toContain("0\n");
});
