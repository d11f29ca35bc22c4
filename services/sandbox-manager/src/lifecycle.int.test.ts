/** How hands come and go: warm, on a guess, paused, idle, lost in every way, and never too many. Real engine. */
import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { newId } from "@manyhands/kit";
import { HandState, Outcome } from "@manyhands/protocol";
import { eventually, type NatsServer, startNatsServer, tempDir } from "@manyhands/testkit";
import Docker from "dockerode";
import { afterAll, beforeAll, expect, test } from "vitest";
import { containerName, LABEL } from "./drivers/docker/container-spec.ts";
import {
  executeCall,
  type ManagerProcess,
  type SandboxClient,
  startManagerProcess,
} from "./testing/manager-process.ts";
import { ensureTestImages } from "./testing/test-images.ts";

const docker = new Docker({ socketPath: "/var/run/docker.sock" });
const POOL_MS = 20_000;
const IDLE_MS = 1500;
let nats: NatsServer;
let manager: ManagerProcess;
let impatient: ManagerProcess;

const env = () => ({ MH_NATS_URL: nats.url, MH_HAND_SWEEP_MS: "200", MH_HAND_ORPHAN_MS: "1000" });

async function provision(client: SandboxClient, request: { sessionId?: string; speculative?: boolean } = {}) {
  const sessionId = request.sessionId ?? newId("sesn");
  const { hand, reused } = await client.provision({ sessionId, speculative: request.speculative ?? false });
  if (!hand) throw new Error("no hand");
  return { sessionId, handId: hand.id, generation: hand.generation, reused };
}

const say = (client: SandboxClient, handId: string, command: string) =>
  executeCall(client, { handId, input: { command } }).then(({ result }) => result);

async function inspect(handId: string) {
  return docker
    .getContainer(containerName(handId))
    .inspect()
    .catch(() => undefined);
}

/** Containers that a manager has made. */
async function containersMadeBy({ client }: ManagerProcess) {
  return containersOf((await client.describeDrivers({})).managerId);
}

function containersOf(managerId: string) {
  return docker.listContainers({ all: true, filters: { label: [`${LABEL.maker}=${managerId}`] } });
}

const warmHands = async ({ client }: ManagerProcess) => (await client.describeDrivers({})).warmHands;

beforeAll(async () => {
  await ensureTestImages(docker);
  nats = await startNatsServer();
  [manager, impatient] = await Promise.all([
    startManagerProcess(env()),
    startManagerProcess({ ...env(), MH_HAND_PAUSE_MS: "400", MH_HAND_IDLE_MS: String(IDLE_MS) }),
  ]);
}, 300_000);

afterAll(async () => {
  await manager?.stop();
  await impatient?.stop();
  await nats?.stop();
});

test("a warm hand is handed out to one session only, and another takes its place", async () => {
  const pooled = await startManagerProcess({ ...env(), MH_HAND_POOL_SIZE: "1", MH_HAND_ON_STOP: "release" });
  try {
    expect(await containersMadeBy(pooled)).toEqual([]); // nothing before a recipe was used
    const first = await provision(pooled.client);
    await eventually(async () => (await warmHands(pooled)) === 1, { timeoutMs: POOL_MS });
    const warm = (await containersMadeBy(pooled)).find(({ Labels: l }) => l[LABEL.hand] !== first.handId);
    const [a, b] = await Promise.all([provision(pooled.client), provision(pooled.client)]);
    expect(new Set([first.handId, a.handId, b.handId]).size).toBe(3);
    expect([a.handId, b.handId]).toContain(warm?.Labels[LABEL.hand]);
    for (const { handId } of [a, b]) {
      expect((await say(pooled.client, handId, "echo mine >> file; cat file")).content).toBe("mine\n");
    }
    // A warm hand that dies before its time is never handed out.
    await eventually(async () => (await warmHands(pooled)) === 1, { timeoutMs: POOL_MS });
    const known = new Set([first.handId, a.handId, b.handId]);
    const doomed = (await containersMadeBy(pooled)).find(({ Labels: l }) => !known.has(l[LABEL.hand] ?? ""));
    await docker.getContainer(doomed?.Id ?? "").kill();
    const next = await provision(pooled.client);
    expect(next.handId).not.toBe(doomed?.Labels[LABEL.hand]);
    expect((await say(pooled.client, next.handId, "echo well")).content).toBe("well\n");
    const { managerId } = await pooled.client.describeDrivers({});
    await pooled.stop();
    expect(await containersOf(managerId)).toEqual([]);
  } finally {
    await pooled.stop();
  }
}, 60_000);

test("what a killed manager kept warm is removed, and by nobody while it lives", async () => {
  const pooled = await startManagerProcess({ ...env(), MH_HAND_POOL_SIZE: "1" });
  const { sessionId } = await provision(pooled.client);
  await eventually(async () => (await warmHands(pooled)) === 1, { timeoutMs: POOL_MS });
  const { managerId } = await pooled.client.describeDrivers({});
  const made = async () => (await containersOf(managerId)).length;
  await pooled.client.release({ sessionId });
  // Old enough to be an orphan, and looked at by two other managers five times a second: still there.
  const since = Date.now();
  await eventually(async () => Date.now() - since > 1600 && (await made()) === 1, { timeoutMs: 5000 });
  await pooled.kill9();
  await eventually(async () => (await made()) === 0, { timeoutMs: 10_000 });
}, 60_000);

test("a guess becomes a hand by being asked for, and is given back when it is not", async () => {
  const { client } = manager;
  const guess = await provision(client, { speculative: true });
  const earnest = await provision(client, { sessionId: guess.sessionId });
  expect(earnest).toMatchObject({ handId: guess.handId, generation: 1, reused: true });
  expect((await client.release({ handId: guess.handId, reason: "unused" })).handIds).toEqual([]); // too late
  expect((await say(client, guess.handId, "echo here")).content).toBe("here\n");

  const sessionId = newId("sesn");
  const both = await Promise.all([
    provision(client, { sessionId, speculative: true }),
    provision(client, { sessionId }),
    provision(client, { sessionId }),
  ]);
  expect(new Set(both.map(({ handId }) => handId)).size).toBe(1);
  expect((await client.release({ handId: both[0].handId, reason: "unused" })).handIds).toEqual([]);

  const wrong = await provision(client, { speculative: true });
  expect((await client.release({ handId: wrong.handId, reason: "unused" })).handIds).toEqual([wrong.handId]);
  expect(await inspect(wrong.handId)).toBeUndefined();
  await client.release({ sessionId: guess.sessionId });
  await client.release({ sessionId });
});

test("an idle hand stands still until its next call, and is released when none comes", async () => {
  const { client } = impatient;
  const { handId } = await provision(client);
  await say(client, handId, "mkdir deep; cd deep; echo 1 > count");
  await eventually(async () => (await inspect(handId))?.State.Paused === true, { timeoutMs: 5000 });
  expect((await say(client, handId, "pwd; cat count")).content).toBe("/workspace/deep\n1\n");
  await eventually(async () => (await client.getHand({ handId })).hand?.state === HandState.RELEASED, {
    timeoutMs: 10_000,
  });
  await eventually(async () => (await inspect(handId)) === undefined);
});

test("a paused hand of a killed manager is woken by the one that adopts it", async () => {
  const doomed = await startManagerProcess({ ...env(), MH_HAND_PAUSE_MS: "200" });
  const { handId, sessionId } = await provision(doomed.client);
  await say(doomed.client, handId, "echo kept > file");
  await eventually(async () => (await inspect(handId))?.State.Paused === true, { timeoutMs: 5000 });
  await doomed.kill9();
  expect((await say(manager.client, handId, "cat file")).content).toBe("kept\n");
  await manager.client.release({ sessionId });
});

test.each([
  ["its agent is killed", async (pid: number) => void process.kill(pid, "SIGKILL")],
  [
    "its container is killed",
    async (_pid: number, handId: string) => docker.getContainer(containerName(handId)).kill(),
  ],
  [
    "its container is removed",
    async (_pid: number, handId: string) => docker.getContainer(containerName(handId)).remove({ force: true }),
  ],
])(
  "a hand is lost because %s: one clear error, and the next request gets a new hand from the recipe",
  async (_, end) => {
    const { client } = manager;
    const sessionId = newId("sesn");
    const recipe = { env: { FROM: "recipe" }, files: [{ path: "seed", content: Buffer.from("seeded") }] };
    const { hand } = await client.provision({ sessionId, recipe });
    const handId = hand?.id ?? "";
    const pid = (await inspect(handId))?.State.Pid ?? 0;
    let ended: Promise<unknown> | undefined;
    const call = { handId, input: { command: "echo begun; sleep 60" } };
    const { result } = await executeCall(client, call, () => {
      ended ??= end(pid, handId);
    });
    await ended;
    expect(result).toMatchObject({ outcome: Outcome.UNKNOWN, isError: true, handLost: true });
    expect(result.content).toMatch(/the sandbox was lost \(.*(ended|removed).*\).*Verify/);
    const { hand: next } = await client.provision({ sessionId, recipe });
    expect(next?.generation).toBe(2);
    expect((await say(client, next?.id ?? "", "echo $FROM; cat seed")).content).toBe("recipe\nseeded");
    await client.release({ sessionId });
  },
);

test("a hand is lost because the engine goes away: one clear error, and a new hand once it is back", async () => {
  const engine = await startEngineDoor();
  const behind = await startManagerProcess({ ...env(), MH_DOCKER_SOCKET: engine.socketPath });
  try {
    const { handId, sessionId } = await provision(behind.client);
    let closed = false;
    const call = { handId, input: { command: "echo begun; sleep 60" } };
    const { result } = await executeCall(behind.client, call, () => {
      if (!closed) engine.shut();
      closed = true;
    });
    expect(result).toMatchObject({ outcome: Outcome.UNKNOWN, isError: true, handLost: true });
    await expect(behind.client.provision({ sessionId })).rejects.toMatchObject({ kind: "unavailable" });
    engine.open();
    const next = await eventually(() => provision(behind.client, { sessionId }).catch(() => undefined), {
      timeoutMs: 10_000,
    });
    expect((await say(behind.client, next?.handId ?? "", "echo back")).content).toBe("back\n");
    await eventually(async () => (await inspect(handId)) === undefined, { timeoutMs: 10_000 });
    await behind.client.release({ sessionId });
  } finally {
    await behind.stop();
    await engine.close();
  }
}, 60_000);

/** The engine's socket behind a door: shut, it refuses and cuts every connection, as an engine that is restarted does. */
async function startEngineDoor() {
  const folder = await tempDir("manyhands-engine-");
  const socketPath = join(folder.path, "docker.sock");
  const through = new Set<Socket>();
  let isShut = false;
  const server = createServer({ allowHalfOpen: true }, (near) => {
    if (isShut) return void near.destroy();
    const far = connect({ path: "/var/run/docker.sock", allowHalfOpen: true });
    for (const socket of [near, far]) {
      through.add(socket);
      socket.on("error", () => socket.destroy());
      socket.on("close", () => {
        through.delete(socket);
        near.destroy();
        far.destroy();
      });
    }
    near.pipe(far).pipe(near);
  });
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  const cut = () => {
    for (const socket of through) socket.destroy();
  };
  return {
    socketPath,
    shut() {
      isShut = true;
      cut();
    },
    open() {
      isShut = false;
    },
    async close() {
      cut();
      server.close();
      await folder.cleanup();
    },
  };
}

test("a full workspace and a full memory are errors of the call; the hand goes on, or is lost in words", async () => {
  const { client } = manager;
  const sessionId = newId("sesn");
  const limits = { workspaceBytes: 1024n * 1024n, memoryBytes: 64n * 1024n * 1024n };
  const { hand } = await client.provision({ sessionId, recipe: { limits } });
  const handId = hand?.id ?? "";
  const full = await say(client, handId, "head -c 3000000 /dev/zero > big");
  expect(full).toMatchObject({ outcome: Outcome.COMPLETED, isError: true, handLost: false });
  expect(full.content).toMatch(/No space left|I\/O error/);
  expect((await say(client, handId, "rm big; echo room > file; cat file")).content).toBe("room\n");
  await client.release({ sessionId });
}, 30_000);

test("an attachment at a manager that never saw the call gets the tool's words when it says which call it was", async () => {
  const doomed = await startManagerProcess(env());
  const { handId, sessionId } = await provision(doomed.client);
  await say(doomed.client, handId, "printf 'one\\ntwo\\nthree\\n' > lines");
  const operationId = newId("sevt");
  const call = { handId, operationId, name: "read", input: { file_path: "/workspace/lines", view_range: [2, 2] } };
  const { result: words } = await executeCall(doomed.client, call);
  await doomed.kill9();
  const inputJson = Buffer.from(JSON.stringify(call.input));
  for await (const { item } of manager.client.attach({ handId, operationId, name: "read", inputJson })) {
    if (item.case === "result") expect(item.value.content).toBe(words.content);
    expect(item.case).not.toBe("output"); // a file is raw material for an answer, here as where it was called
  }
  await manager.client.release({ sessionId });
});
