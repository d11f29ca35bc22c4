/** A hand that is passed on while a call of its first session runs: real engine, real logs, two managers. */
import { newId } from "@manyhands/kit";
import { Outcome } from "@manyhands/protocol";
import { eventually, type NatsServer, startNatsServer } from "@manyhands/testkit";
import Docker from "dockerode";
import { afterAll, beforeAll, expect, test } from "vitest";
import { collectResponses, executeCall, type ManagerProcess, startManagerProcess } from "../testing/manager-process.ts";
import { type SessionStoreProcess, startSessionStoreProcess } from "../testing/session-store-process.ts";
import { ensureTestImages } from "../testing/test-images.ts";

let nats: NatsServer;
let store: SessionStoreProcess;
let one: ManagerProcess;
let two: ManagerProcess;
const sessions: string[] = [];

beforeAll(async () => {
  await ensureTestImages(new Docker({ socketPath: "/var/run/docker.sock" }));
  nats = await startNatsServer({ syncAlways: true });
  store = await startSessionStoreProcess(nats);
  const env = { MH_NATS_URL: nats.url, MH_SESSION_STORE_ADDR: store.address, MH_HAND_SWEEP_MS: "500" };
  [one, two] = await Promise.all([startManagerProcess(env), startManagerProcess(env)]);
}, 300_000);

afterAll(async () => {
  for (const sessionId of sessions) await two?.client.release({ sessionId });
  await one?.stop();
  await two?.stop();
  await store?.stop();
  await nats?.stop();
});

/** Session A, whose call waits for a file in a hand that `one` holds, and B, to which that hand is moved meanwhile. */
async function passedWhileRunning() {
  const [a, b] = [await store.newSession("wrkspc_cp28"), await store.newSession("wrkspc_cp28")];
  sessions.push(a, b);
  const { hand } = await one.client.provision({ sessionId: a, epoch: 7n });
  const handId = hand?.id ?? "";
  const operationId = newId("sevt");
  let begun = 0;
  const command =
    "echo begun; while [ ! -e /workspace/go ]; do sleep 0.05; done; echo ran >> /workspace/runs; echo end of a";
  const ofA = executeCall(two.client, { handId, operationId, input: { command }, epoch: 7n, sessionId: a }, () => {
    begun++;
  });
  ofA.catch(() => undefined);
  await eventually(() => begun > 0);
  await two.client.transferHand({ handId, sessionId: a, toSessionId: b });
  const call = (sessionId: string, name: string, input: object, epoch: bigint) =>
    executeCall(one.client, { handId, operationId: newId("sevt"), name, input, epoch, sessionId });
  return { a, b, handId, operationId, ofA, call };
}

test("CP28: A's call goes on in the hand that was passed to B, B's waits for it, A is fenced and gets its own result", async () => {
  const { a, b, handId, operationId, ofA, call } = await passedWhileRunning();
  const attachAs = (sessionId: string, id = operationId) =>
    collectResponses(two.client.attach({ handId, operationId: id, sessionId, epoch: 7n }));
  // The shell is still A's: B's command waits its turn, while what needs no shell does not.
  let isDone = false;
  const ofB = call(b, "bash", { command: "cat /workspace/runs" }, 1n).finally(() => {
    isDone = true;
  });
  const fenced = { kind: "fenced", details: { metadata: { transferred: "true" } } };
  for (const { client } of [one, two]) {
    const later = { handId, operationId: newId("sevt"), input: { command: "echo a >> /workspace/runs" } };
    await expect(executeCall(client, { ...later, epoch: 7n, sessionId: a })).rejects.toMatchObject(fenced);
    await expect(client.cancelOperation({ handId, operationId, sessionId: a, epoch: 7n })).rejects.toMatchObject(
      fenced,
    );
  }
  await expect(attachAs(a, newId("sevt"))).rejects.toMatchObject(fenced); // only what A began
  expect(isDone).toBe(false);
  // A brain that follows anew, as after a crash, sees the same operation; its epoch does not fence B's brains.
  const again = attachAs(a);
  again.catch(() => undefined);
  expect((await call(b, "write", { file_path: "/workspace/go", content: "" }, 1n)).result.isError).toBe(false);
  for (const end of [await ofA, await again]) {
    expect(end.result).toMatchObject({ outcome: Outcome.COMPLETED, content: "begun\nend of a\n" });
  }
  expect((await ofB).result).toMatchObject({ outcome: Outcome.COMPLETED, content: "ran\n" });
  expect((await attachAs(a)).result.content).toBe("begun\nend of a\n");
});

test("CP28: B cancels A's call explicitly, and A is told that it was killed", async () => {
  const { a, b, handId, operationId, ofA, call } = await passedWhileRunning();
  await two.client.cancelOperation({ handId, operationId, sessionId: b, epoch: 1n });
  expect((await ofA).result).toMatchObject({ outcome: Outcome.KILLED, killedBy: "cancel" });
  const again = await collectResponses(one.client.attach({ handId, operationId, sessionId: a, epoch: 8n }));
  expect(again.result).toMatchObject({ outcome: Outcome.KILLED });
  expect((await call(b, "bash", { command: "ls /workspace" }, 1n)).result.content).toBe("");
});
