import fc from "fast-check";
import { expect, it } from "vitest";
import { type SseEvent, sseParser } from "./sse-parser.ts";

const parse = (...pieces: string[]): SseEvent[] => {
  const parser = sseParser(1000);
  return pieces.flatMap((piece) => [...parser(piece)]);
};
const data = (events: readonly SseEvent[]) => events.map((event) => event.data);

it.each<[string, string, string[]]>([
  ["one event", "data: a\n\n", ["a"]],
  ["several lines", "data: a\ndata:b\n\n", ["a\nb"]],
  ["CR LF", "data: a\r\n\r\ndata: b\r\n\r\n", ["a", "b"]],
  ["CR alone", "data: a\r\rdata: b\r\r", ["a", "b"]],
  ["comments and unknown fields", ": hi\nretry: 5\nfoo: x\ndata: a\n\n", ["a"]],
  ["an event without data", "event: x\n\ndata: a\n\n", ["a"]],
  ["an unfinished event", "data: a\n", []],
])("reads %s", (_, text, expected) => {
  expect(data(parse(text))).toEqual(expected);
});

it("keeps names and ids", () => {
  expect(parse("event: endpoint\nid: 7\ndata: /x\n\n")).toEqual([{ event: "endpoint", id: "7", data: "/x" }]);
});

it("reads the same however the text is cut", () => {
  const texts = fc.array(fc.constantFrom("data: a", "data: b", "", "\r", "\n", "\r\n", ": c", "event: e"), {
    maxLength: 30,
  });
  fc.assert(
    fc.property(texts, fc.array(fc.nat(60), { maxLength: 6 }), (parts, cuts) => {
      const text = parts.join("\n");
      const at = [...new Set(cuts.map((cut) => Math.min(cut, text.length)))].sort((a, b) => a - b);
      const pieces = [0, ...at].map((from, index) => text.slice(from, at[index] ?? text.length));
      expect(parse(...pieces)).toEqual(parse(text));
    }),
  );
});

it("refuses a longer event than it may hold", () => {
  const parser = sseParser(10);
  expect(() => parser("data: 12345678901234567890")).toThrow(/at most 10/);
});
