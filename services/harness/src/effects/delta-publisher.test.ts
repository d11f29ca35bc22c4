import { systemClock } from "@manyhands/kit";
import type { Delta } from "@manyhands/protocol";
import { eventually } from "@manyhands/testkit";
import { expect, it } from "vitest";
import { createDeltaPublisher } from "./delta-publisher.ts";

function publisher(intervalMs: number) {
  const out: string[] = [];
  const publish = ({ eventId, kind }: Delta) => {
    out.push(kind.case === "text" ? `${eventId}[${kind.value.index}] ${kind.value.text}` : `${eventId} ${kind.case}`);
  };
  return { out, deltas: createDeltaPublisher(publish, intervalMs, systemClock) };
}

it("holds everything back until the brain is known to hold the session", () => {
  const { out, deltas } = publisher(0);
  deltas.started("e1", "agent.message");
  deltas.text("e1", 0, "a");
  expect(out).toEqual([]);
  deltas.open();
  expect(out).toEqual(["e1 start", "e1[0] a"]);
});

it("puts text of one block together, and sends the rest at the end", async () => {
  const { out, deltas } = publisher(60_000);
  deltas.open();
  deltas.started("e1", "agent.message");
  for (const letter of "abc") deltas.text("e1", 0, letter);
  deltas.text("e1", 1, "d");
  expect(out).toEqual(["e1 start"]);
  deltas.close();
  expect(out).toEqual(["e1 start", "e1[0] abc", "e1[1] d"]);
});

it("sends on when its pause is over", async () => {
  const { out, deltas } = publisher(1);
  deltas.open();
  deltas.text("e1", 0, "a");
  deltas.text("e1", 0, "b");
  await eventually(() => out.length === 2);
  expect(out).toEqual(["e1[0] a", "e1[0] b"]);
  deltas.close();
});

it("says nothing of an answer that was dropped before the brain held the session", () => {
  const { out, deltas } = publisher(0);
  deltas.text("e1", 0, "a");
  deltas.close();
  expect(out).toEqual([]);
});
