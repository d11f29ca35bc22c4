import { createHash } from "node:crypto";
import { newId } from "@manyhands/kit";
import { HandState, Outcome } from "@manyhands/protocol";
import { eventually, type NatsServer, startNatsServer } from "@manyhands/testkit";
import Docker from "dockerode";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { containerName } from "./drivers/docker/container-spec.ts";
import {
  executeCall,
  type ManagerProcess,
  type SandboxClient,
  startManagerProcess,
} from "./testing/manager-process.ts";
import { ensureTestImages } from "./testing/test-images.ts";

const docker = new Docker({ socketPath: "/var/run/docker.sock" });
let nats: NatsServer;
let one: ManagerProcess;
let two: ManagerProcess;
const sessions: string[] = [];

const env = () => ({ MH_NATS_URL: nats.url, MH_HAND_SWEEP_MS: "500", MH_HAND_ORPHAN_MS: "1000" });

async function newHand(client: SandboxClient, request: { sessionId?: string; epoch?: bigint } = {}) {
  const sessionId = request.sessionId ?? newId("sesn");
  sessions.push(sessionId);
  const { hand, reused } = await client.provision({ sessionId, epoch: request.epoch ?? 0n });
  if (!hand) throw new Error("no hand");
  return { sessionId, handId: hand.id, hand, reused };
}

async function containerOf(handId: string) {
  return docker
    .getContainer(containerName(handId))
    .inspect()
    .catch(() => undefined);
}

beforeAll(async () => {
  await ensureTestImages(docker);
  nats = await startNatsServer();
  [one, two] = await Promise.all([startManagerProcess(env()), startManagerProcess(env())]);
}, 300_000);

afterEach(async () => {
  for (const sessionId of sessions.splice(0)) await two.client.release({ sessionId });
});

afterAll(async () => {
  await one?.stop();
  await two?.stop();
  await nats?.stop();
});

test("provisioning is one hand per session and name, whoever is asked, however concurrently", async () => {
  const sessionId = newId("sesn");
  const hands = await Promise.all(
    Array.from({ length: 8 }, (_, i) => newHand((i % 2 ? one : two).client, { sessionId })),
  );
  expect(new Set(hands.map(({ handId }) => handId)).size).toBe(1);
  expect(hands[0]?.hand).toMatchObject({ driver: "docker", state: HandState.READY, generation: 1, name: "default" });
  const { hands: listed } = await one.client.listHands({ sessionId });
  expect(listed).toHaveLength(1);
});

test("a manager that does not hold the hand passes calls on to the one that does", async () => {
  const { handId } = await newHand(one.client);
  const { result, output } = await executeCall(two.client, {
    handId,
    input: { command: "echo across; exit_code() { return 4; }; exit_code" },
  });
  expect(output.toString()).toBe("across\n");
  expect(result).toMatchObject({
    outcome: Outcome.COMPLETED,
    exitCode: 4,
    isError: true,
    content: "across\n[exit code 4]",
  });
});

test("50 times the same id through two managers is one spawn and one answer", async () => {
  const { handId } = await newHand(one.client);
  const operationId = newId("sevt");
  const call = {
    handId,
    operationId,
    input: { command: "echo ran >> /workspace/count; sleep 0.2; cat /workspace/count" },
  };
  const all = await Promise.all(Array.from({ length: 50 }, (_, i) => executeCall((i % 2 ? one : two).client, call)));
  expect(new Set(all.map(({ result }) => result.content))).toEqual(new Set(["ran\n"]));
  expect(all.filter(({ attached }) => !attached)).toHaveLength(1);
  await expect(executeCall(one.client, { ...call, input: { command: "echo other" } })).rejects.toMatchObject({
    kind: "conflict",
    reason: "ID_REUSED",
  });
});

test("an older brain is fenced, at both managers, also after a newer one only provisioned", async () => {
  const { handId, sessionId } = await newHand(one.client, { epoch: 3n });
  await executeCall(one.client, { handId, input: { command: "true" }, epoch: 3n });
  await two.client.provision({ sessionId, epoch: 5n });
  for (const manager of [one, two]) {
    await expect(
      executeCall(manager.client, { handId, input: { command: "touch /workspace/zombie" }, epoch: 4n }),
    ).rejects.toMatchObject({ kind: "fenced" });
    await expect(manager.client.provision({ sessionId, epoch: 4n })).rejects.toMatchObject({ kind: "fenced" });
  }
  const { result } = await executeCall(two.client, { handId, input: { command: "ls /workspace" }, epoch: 5n });
  expect(result.content).toBe("");
});

test("a container killed during an operation: unknown outcome, hand lost, and a new hand of the next generation", async () => {
  const { handId, sessionId } = await newHand(one.client);
  const running = executeCall(two.client, { handId, input: { command: "echo begun; sleep 60" } }, () => {
    void docker.getContainer(containerName(handId)).kill();
  });
  const { result } = await running;
  expect(result).toMatchObject({ outcome: Outcome.UNKNOWN, isError: true, handLost: true });
  expect(result.content).toContain("Verify");
  // What was never sent to the lost hand is known not to have run, and may be sent to its successor under the same id.
  const { result: fresh } = await executeCall(one.client, { handId, input: { command: "true" } });
  expect(fresh).toMatchObject({ outcome: Outcome.NOT_STARTED, handLost: true });
  await eventually(async () => (await two.client.getHand({ handId })).hand?.state === HandState.LOST);
  const next = await newHand(two.client, { sessionId });
  expect(next.hand.generation).toBe(2);
  expect(next.handId).not.toBe(handId);
  await eventually(async () => (await containerOf(handId)) === undefined);
});

test("a container removed behind our back is a lost hand, not an endless error", async () => {
  const { handId, sessionId } = await newHand(one.client);
  await docker.getContainer(containerName(handId)).remove({ force: true });
  const { result } = await executeCall(one.client, { handId, input: { command: "true" } });
  expect(result.handLost).toBe(true);
  expect((await newHand(one.client, { sessionId })).hand.generation).toBe(2);
});

test("out of memory is told as such, and only the tool dies", async () => {
  const sessionId = newId("sesn");
  sessions.push(sessionId);
  const { hand } = await one.client.provision({ sessionId, recipe: { limits: { memoryBytes: 48n * 1024n * 1024n } } });
  const handId = hand?.id ?? "";
  const { result } = await executeCall(one.client, {
    handId,
    input: { command: "awk 'BEGIN { s = \"x\"; while (1) s = s s }'" },
  });
  expect(result).toMatchObject({ outcome: Outcome.KILLED, killedBy: "out_of_memory", handLost: false });
  expect((await executeCall(one.client, { handId, input: { command: "echo alive" } })).result.content).toBe("alive\n");
});

test("cancel ends a running operation from the other manager", async () => {
  const { handId } = await newHand(one.client);
  const operationId = newId("sevt");
  let canceled: Promise<unknown> | undefined;
  const { result } = await executeCall(
    one.client,
    { handId, operationId, input: { command: "echo go; sleep 60" } },
    () => {
      canceled ??= two.client.cancelOperation({ handId, operationId });
    },
  );
  expect(result).toMatchObject({ outcome: Outcome.KILLED, killedBy: "cancel" });
  await expect(canceled).resolves.toMatchObject({ outcome: Outcome.KILLED });
  await expect(two.client.cancelOperation({ handId, operationId: "sevt_never" })).resolves.toMatchObject({
    outcome: Outcome.NOT_STARTED,
  });
});

test("kill -9 of the manager: operations keep running, any manager re-attaches, output is byte-exact, nothing runs twice", async () => {
  const doomed = await startManagerProcess(env());
  const { handId } = await newHand(doomed.client);
  const script = (name: string) =>
    `echo ran >> /workspace/runs.${name}; i=0; while [ $i -lt 30 ]; do i=$((i+1)); seq $i $((i+200)); sleep 0.05; done`;
  const expected = Array.from({ length: 30 }, (_, i) =>
    Array.from({ length: 201 }, (_, j) => `${i + 1 + j}\n`).join(""),
  ).join("");
  const sha256 = createHash("sha256").update(expected).digest("hex");
  const operationId = newId("sevt");
  const call = { handId, operationId, input: { command: script("a") } };
  // Through `two`, which passes it on to the doomed one: the caller sees neither a gap nor a second start.
  let killed: Promise<void> | undefined;
  const through = executeCall(two.client, call, (bytes) => {
    if (bytes > 3000) killed ??= doomed.kill9();
  });
  const { result, output } = await through;
  await killed;
  expect(killed).toBeDefined();
  expect(createHash("sha256").update(output).digest("hex")).toBe(sha256);
  expect(result).toMatchObject({
    outcome: Outcome.COMPLETED,
    exitCode: 0,
    outputSha256: sha256,
    outputBytes: BigInt(expected.length),
  });
  const again = await executeCall(one.client, call);
  expect(again.attached).toBe(true);
  expect(again.result.outputSha256).toBe(sha256);
  const { result: runs } = await executeCall(one.client, { handId, input: { command: "cat /workspace/runs.a" } });
  expect(runs.content).toBe("ran\n");
});

test("a manager that stops in order leaves its hands running for the next one", async () => {
  const leaving = await startManagerProcess(env());
  const { handId } = await newHand(leaving.client);
  await executeCall(leaving.client, { handId, input: { command: "echo kept > /workspace/file" } });
  await leaving.stop();
  expect((await executeCall(two.client, { handId, input: { command: "cat file" } })).result.content).toBe("kept\n");
});

test("a manager told to release its hands leaves no container behind", async () => {
  const leaving = await startManagerProcess({ ...env(), MH_HAND_ON_STOP: "release" });
  const { handId } = await newHand(leaving.client);
  expect((await containerOf(handId))?.State.Running).toBe(true);
  await leaving.stop();
  expect(await containerOf(handId)).toBeUndefined();
  expect((await one.client.getHand({ handId })).hand?.state).toBe(HandState.RELEASED);
});

test("kill -9 in the middle of 50 operations: all are re-attached, each ran once, every output is exact", async () => {
  const doomed = await startManagerProcess(env());
  const { handId } = await newHand(doomed.client);
  const ids = Array.from({ length: 50 }, () => newId("sevt"));
  // The shell takes turns: some have ended when the manager dies, one runs, the others wait in the hand.
  const calls = ids.map((operationId, i) => ({
    handId,
    operationId,
    input: { command: `echo ${i} >> /workspace/ran; seq ${i} ${i + 500}; sleep 0.02` },
  }));
  let killed: Promise<void> | undefined;
  const all = await Promise.all(
    calls.map((call, i) =>
      executeCall(two.client, call, () => {
        if (i >= 10) killed ??= doomed.kill9();
      }),
    ),
  );
  await killed;
  expect(killed).toBeDefined();
  for (const [i, { output, result }] of all.entries()) {
    expect(result.outcome).toBe(Outcome.COMPLETED);
    expect(output.toString()).toBe(Array.from({ length: 501 }, (_, j) => `${i + j}\n`).join(""));
  }
  const { result } = await executeCall(one.client, { handId, input: { command: "sort -n /workspace/ran" } });
  expect(result.content).toBe(Array.from({ length: 50 }, (_, i) => `${i}\n`).join(""));
});

test("a release ends the container and the session's other hands; releasing again is fine", async () => {
  const { handId, sessionId } = await newHand(one.client);
  const { hand: second } = await two.client.provision({ sessionId, name: "second" });
  const { handIds } = await two.client.release({ sessionId, reason: "session_end" });
  expect(handIds.sort()).toEqual([handId, second?.id].sort());
  expect(await containerOf(handId)).toBeUndefined();
  expect((await one.client.release({ sessionId })).handIds).toEqual([]);
  const { result } = await executeCall(one.client, { handId, input: { command: "true" } });
  expect(result.handLost).toBe(true);
});

test("a container whose record is gone is swept; one with a record and one of another platform are not", async () => {
  const { handId } = await newHand(one.client);
  const kept = await docker.getContainer(containerName(handId)).inspect();
  const place = kept.Config.Labels["dev.manyhands.place"] ?? "";
  const withoutRecord = async (where: string) => {
    const id = newId("hand");
    const Labels = { "dev.manyhands.hand": id, "dev.manyhands.place": where };
    await docker.createContainer({ name: containerName(id), Image: kept.Image, Entrypoint: ["sleep", "1000"], Labels });
    return id;
  };
  const foreign = await withoutRecord(`${place}-of-another-platform`);
  const orphan = await withoutRecord(place);
  try {
    await eventually(async () => (await containerOf(orphan)) === undefined, { timeoutMs: 10_000 });
    expect((await containerOf(handId))?.State.Running).toBe(true);
    expect(await containerOf(foreign)).toBeDefined();
  } finally {
    await docker.getContainer(containerName(foreign)).remove({ force: true });
  }
});

test("the next hand beyond the capacity is made by another manager, or refused in words with a hint when to ask again", async () => {
  const labelled = { MH_HAND_CAPACITY: "1", MH_HAND_SWEEP_MS: "60000", MH_MANAGER_LABELS: "size=small" };
  const small = await startManagerProcess({ ...env(), ...labelled });
  const recipe = { managerLabels: { size: "small" } };
  const labelledHand = (client: SandboxClient) => {
    const sessionId = newId("sesn");
    sessions.push(sessionId);
    return client.provision({ sessionId, recipe });
  };
  try {
    const { managerId } = await small.client.describeDrivers({});
    const { hand } = await labelledHand(one.client); // asked for elsewhere, made where the label is
    expect(hand?.managerId).toBe(managerId);
    for (const { client } of [small, one]) {
      const full = { kind: "exhausted", reason: "HAND_CAPACITY", retry: { afterMs: expect.any(Number) } };
      await expect(labelledHand(client)).rejects.toMatchObject(full);
    }
    const { hand: moved } = await newHand(small.client);
    expect(moved.managerId).not.toBe(managerId);
    expect(
      (await executeCall(small.client, { handId: moved.id, input: { command: "echo hi" } })).output.toString(),
    ).toBe("hi\n");
  } finally {
    await small.stop();
  }
});

test("bad input is the documented error, and what is not served says so", async () => {
  await expect(
    one.client.provision({ sessionId: "a.b", recipe: { packages: { apt: ["x; y"] } } }),
  ).rejects.toMatchObject({
    kind: "invalid",
    details: { fieldViolations: [{ field: "session_id" }, { field: "recipe.packages.apt" }] },
  });
  await expect(executeCall(one.client, { handId: "hand_none", input: {} })).rejects.toMatchObject({ kind: "notFound" });
  await expect(one.client.snapshot({ handId: "hand_none" })).rejects.toMatchObject({ kind: "notFound" });
  await expect(one.client.grant({ handId: "x", toSessionId: "y" })).rejects.toMatchObject({
    reason: "NO_SESSION_STORE",
  });
  const { defaultDriver, reason, drivers } = await one.client.describeDrivers({});
  expect(defaultDriver).toBe("docker");
  expect(reason).toContain("docker");
  expect(drivers.find(({ name }) => name === "virtual")?.available).toBe(false);
});
