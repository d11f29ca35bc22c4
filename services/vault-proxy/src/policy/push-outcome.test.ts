import { describe, expect, it } from "vitest";
import { judgePush, type PushCommand, parseAdvertisedRefs, parsePushCommands } from "./push-outcome.ts";

const a = "a".repeat(40);
const b = "b".repeat(40);
const c = "c".repeat(40);
const none = "0".repeat(40);
const main = "refs/heads/main";

const line = (text: string) => `${(Buffer.byteLength(text) + 4).toString(16).padStart(4, "0")}${text}`;
const bytes = (...parts: string[]) => Buffer.from(parts.join(""));

describe("the commands of a push", () => {
  const first = line(`${a} ${b} ${main}\0 report-status side-band-64k agent=git/2.39`);
  const second = line(`${none} ${c} refs/tags/v1`);

  it("are read up to the flush, whatever follows", () => {
    expect(parsePushCommands(bytes(first, second, "0000", "PACK…"))).toEqual([
      { ref: main, old: a, new: b },
      { ref: "refs/tags/v1", old: none, new: c },
    ]);
    expect(parsePushCommands(bytes(line(`shallow ${c}\n`), first, "0000"))).toHaveLength(1);
    expect(parsePushCommands(bytes("0000"))).toEqual([]);
  });

  it("need all of their bytes, and say so at every cut", () => {
    const whole = bytes(first, second, "0000");
    for (let length = 0; length < whole.byteLength; length += 1) {
      expect(parsePushCommands(whole.subarray(0, length))).toBe("more");
    }
  });

  it.each([
    ["no pkt-line", "hello"],
    ["a length that is none", "0003"],
    ["a signed push", line("push-cert\0caps")],
    ["an object id of another length", line(`${a}0 ${b} ${main}`)],
    ["a name that is no ref", line(`${a} ${b} main`)],
    ["more refs than are noted", line(`${a} ${b} ${main}`).repeat(1001)],
  ])("are not guessed from %s", (_, text) => {
    expect(parsePushCommands(bytes(text, "0000"))).toBe("bad");
  });
});

describe("the refs of an advertisement", () => {
  const service = `${line("# service=git-receive-pack\n")}0000`;

  it("are those below refs/", () => {
    const listed = bytes(service, line(`${a} ${main}\0caps\n`), line(`${b} refs/tags/v1\n`), "0000");
    expect(parseAdvertisedRefs(listed)).toEqual(
      new Map([
        [main, a],
        ["refs/tags/v1", b],
      ]),
    );
    expect(parseAdvertisedRefs(bytes(service, line(`${none} capabilities^{}\0caps\n`), "0000"))).toEqual(new Map());
  });

  it("are unknown when it is cut off, or another service's", () => {
    expect(parseAdvertisedRefs(bytes(service, line(`${a} ${main}\0caps\n`)))).toBeUndefined();
    expect(parseAdvertisedRefs(bytes(line("# service=git-upload-pack\n"), "0000", "0000"))).toBeUndefined();
    expect(parseAdvertisedRefs(bytes("<html>"))).toBeUndefined();
  });
});

describe("what came of a push (CP26)", () => {
  const push: PushCommand = { ref: main, old: a, new: b };
  const made: PushCommand = { ref: "refs/heads/new", old: none, new: c };
  const deleted: PushCommand = { ref: "refs/heads/gone", old: c, new: none };
  const refs = (...pairs: [string, string][]) => new Map(pairs);

  it.each([
    ["the new commit is there", push, refs([main, b]), "COMPLETED"],
    ["the old commit is still there", push, refs([main, a]), "NOT_STARTED"],
    ["somebody else's commit is there", push, refs([main, c]), "UNKNOWN"],
    ["the ref is gone", push, refs(), "UNKNOWN"],
    ["a new branch exists", made, refs([made.ref, c]), "COMPLETED"],
    ["a new branch does not exist", made, refs(), "NOT_STARTED"],
    ["a deleted branch is gone", deleted, refs(), "COMPLETED"],
    ["a deleted branch is there", deleted, refs([deleted.ref, c]), "NOT_STARTED"],
  ] as const)("%s", (_, command, now, outcome) => {
    expect(judgePush([command], now)).toEqual({ outcome, refs: [{ ...command, outcome }] });
  });

  it("is unknown as a whole when refs differ, and known for each", () => {
    const { outcome, refs: each } = judgePush([push, made], refs([main, b]));
    expect([outcome, ...each.map((one) => one.outcome)]).toEqual(["UNKNOWN", "COMPLETED", "NOT_STARTED"]);
  });
});
