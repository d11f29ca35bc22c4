/** That the checks of the rigs see what they are for: each kind of damage to a good log is found. */
import { createHash } from "node:crypto";
import { create, toBinary } from "@bufbuild/protobuf";
import { FrameSchema } from "@manyhands/protocol";
import { describe, expect, it } from "vitest";
import { checkLog, isWhole, type RawFrame } from "./support/check-log.ts";

const sessionId = "sesn_a";

/** A log of one event per frame; `order` of the texts as given. */
function logOf(texts: readonly string[]): RawFrame[] {
  let previousHash: Uint8Array = new Uint8Array();
  return texts.map((text, number) => {
    const payload = toBinary(
      FrameSchema,
      create(FrameSchema, {
        firstPosition: BigInt(number),
        previousHash,
        events: [
          {
            type: "agent.message",
            position: BigInt(number),
            payload: { case: "agentMessage", value: { content: [{ kind: { case: "text", value: { text } } }] } },
          },
        ],
      }),
    );
    previousHash = createHash("sha256").update(payload).digest();
    return { sessionId, number, payload };
  });
}

const texts = ["w0-0", "w1-0", "w0-1", "w0-2"];
const acknowledged = texts.map((text, position) => ({ sessionId, writer: text.slice(0, 2), order: 0, text, position }));
const ledger = { acknowledged, sent: new Set(texts) };
const good = logOf(texts);
const without = (at: number) => good.filter((_, index) => index !== at);

describe("checkLog", () => {
  it("finds nothing in a good log, also when it holds what was never answered", () => {
    expect(checkLog(good, ledger)).toMatchObject({ acknowledged: 4, events: 4, frames: 4, problems: [] });
    expect(isWhole(checkLog(good, { ...ledger, acknowledged: acknowledged.slice(1) }))).toBe(true);
  });

  it.each([
    ["a lost tail", good.slice(0, 3), { lost: 1, gaps: 0 }],
    ["a lost log", [], { lost: 4 }],
    ["a hole", without(1), { lost: 1, broken_links: 1 }],
    ["frames swapped", [good[1], good[0], ...good.slice(2)], { broken_links: 3 }],
    ["a frame twice", [...good, good[3]], { duplicated: 1, gaps: 3 }],
    ["other content", logOf(["w0-0", "w1-0", "w0-9", "w0-2"]), { lost: 1, invented: 1 }],
    ["an event twice", logOf([...texts, "w0-2"]), { duplicated: 1 }],
    ["a writer's events in another order", logOf(["w0-1", "w1-0", "w0-0", "w0-2"]), { misplaced: 3, gaps: 0 }],
  ])("finds %s", (_, frames, expected) => {
    const findings = checkLog(
      frames.flatMap((frame) => frame ?? []),
      ledger,
    );
    expect(findings).toMatchObject(expected);
    expect(isWhole(findings)).toBe(false);
  });
});
