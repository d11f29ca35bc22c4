import { createRpcClient, newId, type RpcClient } from "@manyhands/kit";
import { HarnessService } from "@manyhands/protocol";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Bed, createSession, isIdle, logUntil, ofType, type Process, startBed } from "./bed.ts";

let bed: Bed;
let process: Process;
let client: RpcClient<typeof HarnessService>;

beforeAll(async () => {
  bed = await startBed();
  process = await bed.startHarness({ MH_CONCURRENCY: "7", MH_INSTANCE_ID: "brain-1" });
  client = createRpcClient(HarnessService, { address: process.addresses.grpc ?? "", defaultDeadlineMs: 5_000 });
});
afterAll(async () => {
  client?.close();
  await bed?.close();
});

it("says what it is", async () => {
  expect(await client.describeHarness({})).toMatchObject({
    instanceId: "brain-1",
    kinds: [{ kind: "default", version: "1.0.0" }],
    sessionsInWork: 0,
    capacity: 7,
  });
});

it("refuses a call without a session, and one about a session that does not exist", async () => {
  await expect(client.wake({})).rejects.toMatchObject({ kind: "invalid" });
  await expect(client.interrupt({})).rejects.toMatchObject({ kind: "invalid" });
  await expect(client.wake({ sessionId: newId("sesn") })).rejects.toMatchObject({ kind: "notFound" });
  await expect(client.interrupt({ sessionId: newId("sesn") })).rejects.toMatchObject({ kind: "notFound" });
});

it("wakes a session that has nothing to do without writing anything", async () => {
  const id = await createSession(bed, "Hello");
  const before = await logUntil(bed, id, isIdle());
  await client.wake({ sessionId: id });
  await logUntil(bed, id, () => true);
  const { sessionsInWork } = await client.describeHarness({});
  expect(sessionsInWork).toBeLessThanOrEqual(1);
  expect(await logUntil(bed, id, isIdle())).toHaveLength(before.length);
});

it("interrupts by writing the user's event", async () => {
  const id = await createSession(bed, "Hello");
  await logUntil(bed, id, isIdle());
  const { eventId } = await client.interrupt({ sessionId: id });
  const events = await logUntil(bed, id, isIdle(2));
  expect(ofType(events, "user.interrupt").map((event) => event.id)).toEqual([eventId]);
});

it("refuses to switch a session to a kind that no harness has ever been", async () => {
  await expect(client.switchHarness({ sessionId: "sesn_1", kind: "x" })).rejects.toMatchObject({
    kind: "conflict",
    message: expect.stringContaining("no harness of kind x"),
  });
});
