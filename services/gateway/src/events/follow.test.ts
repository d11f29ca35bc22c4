import { create } from "@bufbuild/protobuf";
import { AppError } from "@manyhands/kit";
import { EventSchema, type WatchEventsResponse, WatchEventsResponseSchema } from "@manyhands/protocol";
import { expect, it } from "vitest";
import { follow } from "./follow.ts";

const away = () => AppError.unavailable("UNAVAILABLE", "nobody listens");
const item = (position: bigint) =>
  create(WatchEventsResponseSchema, { item: { case: "event", value: create(EventSchema, { position }) } });

/** Follows a session-store that answers each watch in turn: with events and then an end, or not at all. */
function followed(watches: (WatchEventsResponse[] | AppError)[]) {
  let nowMs = 0;
  const asked: bigint[] = [];
  const sessions = {
    async *watchEvents({ start }: { readonly start?: { readonly value?: unknown } }) {
      asked.push(start?.value as bigint);
      const answer = watches.shift() ?? away();
      if (answer instanceof AppError) throw answer;
      yield* answer;
      throw away();
    },
  };
  const place = { workspaceId: "w", sessionId: "sesn_1", deltas: false, platform: false, rpc: {} };
  const options = { ...place, fromPosition: 4n, signal: new AbortController().signal };
  const clock = {
    nowMs: () => nowMs,
    async wait(ms: number) {
      nowMs += ms;
    },
  };
  return { events: follow(sessions as never, options, clock), asked, nowMs: () => nowMs };
}

it("takes a watch up again where it was, however often in a row that fails, for half a minute", async () => {
  const failures = Array.from({ length: 25 }, away);
  const { events, asked, nowMs } = followed([[item(4n)], ...failures, [item(4n), item(5n)]]);
  const seen: bigint[] = [];
  const read = async () => {
    for await (const one of events) if ("event" in one) seen.push(one.event.position);
  };
  await expect(read()).rejects.toMatchObject({ kind: "unavailable" });
  expect(seen).toEqual([4n, 5n]);
  expect(asked.slice(0, 28)).toEqual([4n, ...failures.map(() => 5n), 5n, 6n]);
  expect(nowMs()).toBeGreaterThan(30_000);
  expect(nowMs()).toBeLessThan(62_000);
});

it("does not count how long a watch that goes well lasts", async () => {
  const { events } = followed([[item(4n)], [item(5n)], [item(6n)]]);
  for (const position of [4n, 5n, 6n]) {
    expect((await events.next()).value).toMatchObject({ event: { position } });
  }
});

it("gives up at once on what no time heals", async () => {
  const { events, nowMs } = followed([AppError.invalid([{ field: "session_id", description: "must be an id" }])]);
  await expect(events.next()).rejects.toMatchObject({ kind: "invalid" });
  expect(nowMs()).toBe(0);
});
