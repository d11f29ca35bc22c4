import { expect, test } from "vitest";
import { parseCountRequest } from "./request-schema.ts";
import { estimateInputTokens, estimateTokens, PromptCache } from "./usage.ts";

const mark = { cache_control: { type: "ephemeral" } };

test("one token per four UTF-8 bytes, rounded up", () => {
  expect(["", "a", "abcd", "abcde", "é".repeat(4)].map(estimateTokens)).toEqual([0, 1, 1, 2, 2]);
});

test("a repeated prefix is read from the cache, and only what is new is written", () => {
  const cache = new PromptCache();
  const first = requestOf([["one", true]]);
  const second = requestOf([
    ["one", false],
    ["two", true],
    ["three", false],
  ]);
  const all = estimateInputTokens(first);
  expect(cache.use(first)).toEqual({ input_tokens: 0, cache_creation_input_tokens: all, cache_read_input_tokens: 0 });
  expect(cache.use(first)).toEqual({ input_tokens: 0, cache_creation_input_tokens: 0, cache_read_input_tokens: all });
  const usage = cache.use(second);
  expect(usage.cache_read_input_tokens).toBe(all);
  expect(usage.cache_creation_input_tokens).toBeGreaterThan(0);
  expect(usage.input_tokens).toBeGreaterThan(0);
  const sum = usage.input_tokens + usage.cache_creation_input_tokens + usage.cache_read_input_tokens;
  expect(sum).toBe(estimateInputTokens(second));
});

test("a changed byte before the breakpoint reads nothing", () => {
  const cache = new PromptCache();
  cache.use(requestOf([["one", true]]));
  expect(cache.use(requestOf([["One", true]])).cache_read_input_tokens).toBe(0);
});

test("without a breakpoint nothing is cached; the top-level mark counts as one on the last block", () => {
  const cache = new PromptCache();
  const plain = requestOf([["one", false]]);
  expect(cache.use(plain).cache_creation_input_tokens).toBe(0);
  expect(cache.use({ ...plain, cache_control: { type: "ephemeral" } }).cache_creation_input_tokens).toBeGreaterThan(0);
  expect(cache.use({ ...plain, cache_control: { type: "ephemeral" } }).cache_read_input_tokens).toBeGreaterThan(0);
});

test("a mark more than 20 blocks later does not find the older prefix", () => {
  const cache = new PromptCache();
  cache.use(requestOf([["one", true]]));
  const between = (count: number) => Array.from({ length: count }, (_, i): [string, boolean] => [`b${i}`, false]);
  expect(
    cache.use(requestOf([["one", false], ...between(19), ["last", true]])).cache_read_input_tokens,
  ).toBeGreaterThan(0);
  const other = new PromptCache();
  other.use(requestOf([["one", true]]));
  expect(other.use(requestOf([["one", false], ...between(20), ["last", true]])).cache_read_input_tokens).toBe(0);
});

function requestOf(texts: [string, boolean][]) {
  const content = texts.map(([text, isMarked]) => ({ type: "text", text, ...(isMarked ? mark : {}) }));
  return parseCountRequest({ model: "m", system: "You help.", messages: [{ role: "user", content }] });
}
