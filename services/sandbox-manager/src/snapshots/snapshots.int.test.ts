/** Files of hands on a real engine, kept in a real nats-server: after a loss, by name, and as files. */
import { newId } from "@manyhands/kit";
import { type NatsServer, startNatsServer } from "@manyhands/testkit";
import Docker from "dockerode";
import { afterAll, beforeAll, expect, test } from "vitest";
import { containerName } from "../drivers/docker/container-spec.ts";
import { executeCall, type ManagerProcess, startManagerProcess } from "../testing/manager-process.ts";
import { ensureTestImages } from "../testing/test-images.ts";

const docker = new Docker({ socketPath: "/var/run/docker.sock" });
const sessions: string[] = [];
let nats: NatsServer;
let one: ManagerProcess;
let two: ManagerProcess;

beforeAll(async () => {
  await ensureTestImages(docker);
  nats = await startNatsServer();
  const env = { MH_NATS_URL: nats.url, MH_HAND_POOL_SIZE: "0", MH_HAND_ON_STOP: "release" };
  [one, two] = await Promise.all([startManagerProcess(env), startManagerProcess(env)]);
}, 300_000);

afterAll(async () => {
  for (const sessionId of sessions) await one.client.release({ sessionId });
  await Promise.all([one?.stop(), two?.stop()]);
  await nats?.stop();
});

type Recipe = NonNullable<Parameters<ManagerProcess["client"]["provision"]>[0]["recipe"]>;

async function provision(sessionId: string, recipe: Recipe = {}, filesAfter: string[] = []) {
  sessions.push(sessionId);
  const { hand } = await one.client.provision({ sessionId, recipe, filesAfter });
  if (!hand) throw new Error("no hand");
  return hand;
}

async function sh(handId: string, command: string): Promise<{ content: string; operationId: string }> {
  const operationId = newId("sevt");
  const { result } = await executeCall(one.client, { handId, input: { command }, operationId });
  return { content: result.content, operationId };
}

async function loseHand(handId: string): Promise<void> {
  await docker.getContainer(containerName(handId)).kill();
  const { result } = await executeCall(one.client, { handId, input: { command: "true" } });
  expect(result.handLost).toBe(true);
}

test("after a loss the files come back where the recipe asks for it, and nowhere else", async () => {
  for (const restoreFiles of [true, false]) {
    const sessionId = newId("sesn");
    const recipe = { restoreFiles, files: [{ path: "given", content: Buffer.from("g") }] };
    const first = await provision(sessionId, recipe);
    await sh(
      first.id,
      "echo kept > /workspace/made; rm /workspace/given; mkdir -m 700 /workspace/d; ln -s made /workspace/l",
    );
    await loseHand(first.id);
    const second = await provision(sessionId, recipe);
    expect(second.generation).toBe(2);
    const { content } = await sh(
      second.id,
      "cd /workspace; ls -a | tail -n +3; cat l 2>/dev/null; stat -c %a d 2>/dev/null; true",
    );
    expect(content).toBe(restoreFiles ? "d\nl\nmade\nkept\n700\n" : "given\n");
  }
});

test("a snapshot that was asked for is a moment like any other; an unknown or deleted one is the recipe's", async () => {
  const hand = await provision(newId("sesn"));
  await sh(hand.id, "echo 1 > /workspace/a");
  const { snapshotId } = await one.client.snapshot({ handId: hand.id, position: 7n });
  expect(snapshotId).toMatch(/^snap_/);
  await sh(hand.id, "echo 2 > /workspace/a");
  const fork = await provision(newId("sesn"), {}, [newId("sevt"), snapshotId]);
  expect((await sh(fork.id, "cat /workspace/a")).content).toBe("1\n");
  await one.client.release({ sessionId: hand.sessionId, reason: "session_deleted" });
  const late = await provision(newId("sesn"), {}, [snapshotId]);
  expect((await sh(late.id, "ls /workspace")).content).toBe("");
  const plain = await provision(newId("sesn"), {}, [newId("snap")]);
  expect((await sh(plain.id, "ls /workspace")).content).toBe("");
});

test("a fork made at once has the files of the last operation, whose snapshot is still being kept, at any manager", async () => {
  const hand = await provision(newId("sesn"));
  const forkAt = async ({ client }: ManagerProcess, operationId: string) => {
    const sessionId = newId("sesn");
    const { hand: fork } = await client.provision({ sessionId, filesAfter: [operationId] });
    const handId = fork?.id ?? "";
    const { result } = await executeCall(client, { handId, input: { command: "cat /workspace/n" } });
    await client.release({ sessionId });
    return result.content;
  };
  for (const [n, manager] of [one, two].entries()) {
    // Big enough for its snapshot to take longer than what the fork does before it looks.
    const { operationId } = await sh(
      hand.id,
      `head -c 8000000 /dev/urandom > /workspace/big; echo ${n} > /workspace/n`,
    );
    expect(await forkAt(manager, operationId)).toBe(`${n}\n`);
  }
});

test("what a hand puts out can be read as files, empty and big ones too", async () => {
  const hand = await provision(newId("sesn"));
  const make =
    "cd /mnt/session/outputs && mkdir sub && : > empty && head -c 5000000 /dev/zero | tr '\\0' x > sub/big && ln -s big sub/link";
  await sh(hand.id, make);
  const files = new Map<string, number>();
  for await (const { path, offset, data, size } of one.client.readFiles({ handId: hand.id })) {
    expect(offset).toBe(BigInt(files.get(path) ?? 0));
    expect(data.every((byte) => byte === 120)).toBe(true);
    files.set(path, Number(offset) + data.length);
    expect(size).toBe(path === "empty" ? 0n : 5_000_000n);
  }
  expect(files).toEqual(
    new Map([
      ["empty", 0],
      ["sub/big", 5_000_000],
    ]),
  );
  const wrong = async () => {
    for await (const _ of one.client.readFiles({ handId: hand.id, path: "/workspace/../etc" }));
  };
  await expect(wrong()).rejects.toMatchObject({ kind: "invalid" });
});
