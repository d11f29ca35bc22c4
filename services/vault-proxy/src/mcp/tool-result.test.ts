import { expect, it } from "vitest";
import { RESULT_LIMITS, scrubber, toolResult } from "./tool-result.ts";

const text = (value: string) => ({ type: "text", text: value });
const picture = { type: "image", data: "aGk=", mimeType: "image/png" };
const asIs = (value: string) => value;
const bytesOf = (content: readonly unknown[]) => Buffer.byteLength(JSON.stringify(content));

it("leaves what an event can hold as it is", () => {
  const content = [text("a".repeat(100_000)), picture, text("b".repeat(50_000))];
  expect(toolResult({ content }, asIs).content.map(({ type }) => type)).toEqual(["text", "image", "text"]);
});

it("puts the texts of a long answer together, all of them, and the pictures behind", () => {
  const parts = Array.from({ length: 90 }, (_, n) => `part ${n} ${"é".repeat(10_000)}`);
  const { content } = toolResult({ content: [...parts.map(text), picture] }, asIs);
  expect(content).toMatchObject([text(parts.join("\n")), { type: "image" }]);
});

it("takes the credential out of the middle of a long answer", () => {
  const half = "x".repeat(1_000_000);
  const { content } = toolResult({ content: [text(`${half}top-secret-token${half}`)] }, scrubber("top-secret-token"));
  expect(content).toEqual([text(`${half}[redacted]${half}`)]);
});

it.each([
  ["plain text", "x", RESULT_LIMITS.textBytes],
  ["characters that JSON writes with six", "\u0001", RESULT_LIMITS.textBytes / 4],
])("says how much there was of more than can be kept: %s", (_, letter, kept) => {
  const whole = `start${letter.repeat(6 * 1024 * 1024)}end`;
  const { content } = toolResult({ content: [text(whole)] }, asIs);
  const [shown = "", note] = content.map((block) => (block.type === "text" ? block.text : ""));
  expect([shown.startsWith("start"), shown.endsWith("end")]).toEqual([true, true]);
  expect(Math.abs(shown.length - kept)).toBeLessThan(100);
  expect(shown).toMatch(/\n\[… \d+ bytes left out …\]\n/);
  expect(note).toBe(
    `[the answer has ${whole.length} bytes of text, which is more than can be kept: its middle is lost]`,
  );
  expect(bytesOf(content)).toBeLessThan(RESULT_LIMITS.jsonBytes + 200);
});
