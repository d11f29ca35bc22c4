import { create } from "@bufbuild/protobuf";
import { fold, foldFrom } from "@manyhands/core";
import { GetEventsRequestSchema } from "@manyhands/protocol";
import { eventually } from "@manyhands/testkit";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Bed, createSession, log, logUntil, message, ofType, send, startBed } from "./bed.ts";

const every = 8;
const turns = 5;

let bed: Bed;
const shown: number[] = [];

beforeAll(async () => {
  bed = await startBed(
    {},
    {
      onRequest({ body }) {
        const { messages } = JSON.parse(Buffer.from(body ?? "{}").toString()) as { messages?: unknown[] };
        shown.push(messages?.length ?? 0);
        return undefined;
      },
    },
  );
});
afterAll(() => bed?.close());

it("saves its fold every so many events; the next brain goes on from there and still shows the model everything", async () => {
  // Nothing is kept warm: every turn is a wake from the log.
  await bed.startHarness({ MH_CHECKPOINT_EVENTS: String(every), MH_WARM_MS: "0" });
  const id = await createSession(bed, "Hello there", { tools: [] });
  for (let turn = 1; turn <= turns; turn += 1) {
    if (turn > 1) await send(bed, id, message(`Hello for the ${turn}th time`));
    await logUntil(bed, id, (events) => ofType(events, "session.status_idle").length === turn);
  }
  const events = await eventually(async () => {
    const all = await log(bed, id);
    expect(ofType(all, "context.checkpointed").length).toBeGreaterThan(2);
    return all;
  });
  expect(shown).toEqual([1, 3, 5, 7, 9]);
  const checkpoints = ofType(events, "context.checkpointed");
  for (const [index, { position }] of checkpoints.entries()) {
    expect(foldFrom(events.slice(position))).toEqual({ state: fold(events), from: position });
    expect(position - (checkpoints[index - 1]?.position ?? -1)).toBeGreaterThan(every);
  }
  const slice = { case: "fromCheckpoint", value: true } as const;
  const read = await bed.sessions.getEvents(
    create(GetEventsRequestSchema, { sessionId: id, slice, includePlatform: true }),
  );
  expect(Number(read.events[0]?.position)).toBe(checkpoints.at(-1)?.position);
  expect(read.events.length).toBeLessThan(every + 8);
});
