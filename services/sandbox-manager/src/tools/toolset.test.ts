import { newId } from "@manyhands/kit";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { testPlan } from "../drivers/driver.contract.ts";
import { createVirtualDriver } from "../drivers/virtual/virtual-driver.ts";
import type { HeldHand } from "../hands/held-hands.ts";
import { makeHand } from "../hands/make-hand.ts";
import type { Manager } from "../hands/manager.ts";
import type { Result } from "../hands/results.ts";
import { runCall } from "../hands/run-operation.ts";
import { memoryManager } from "../testing/memory-manager.ts";
import { boundedText, MODEL_BYTES } from "./bounded-text.ts";
import { imageAnswer } from "./image.ts";
import { inputHash } from "./input-hash.ts";

/** The tools, end to end over the virtual driver: input to words. */
let manager: Manager;
let held: HeldHand;

beforeAll(async () => {
  const driver = createVirtualDriver("tools", () => Date.now());
  manager = memoryManager("tools", driver);
  const plan = testPlan();
  const recipe = { ...plan.limits, image: "", env: {}, repositories: [], files: [], driver: "" };
  const made = await makeHand(
    manager,
    { sessionId: plan.sessionId, name: "default", recipe, brainEpoch: 0, speculative: false, filesAfter: [] },
    undefined,
  );
  if (!made) throw new Error("no hand");
  held = made;
});

afterAll(() => held.driver.close());

async function call(name: string, input: unknown, operationId = newId("sevt")): Promise<Result> {
  for await (const item of runCall(manager, held, { operationId, name, input, timeoutMs: undefined })) {
    if (item.type === "result") return item.result;
  }
  throw new Error("no result");
}

const content = async (name: string, input: unknown) => (await call(name, input)).content;
const fails = async (name: string, input: unknown) => {
  const result = await call(name, input);
  expect(result).toMatchObject({ isError: true, outcome: "completed" });
  return result.content;
};

describe("wrong calls are answers that name the field", () => {
  test.each([
    ["rm", {}, /^name: there is no tool rm/],
    ["bash", {}, /^command: required/],
    ["bash", { command: 3 }, /^command: must be a string/],
    ["bash", { command: "true", timeout_ms: 0 }, /^timeout_ms: must be a whole number from 1/],
    ["bash", { command: "true", restart: "yes" }, /^restart: must be true or false/],
    ["bash", { cmd: "true" }, /^cmd: unknown field; this tool takes command/],
    ["bash", "true", /^input: must be a JSON object/],
    ["bash", undefined, /^input: must be a JSON object/],
    ["read", {}, /^file_path: must be a path/],
    ["read", { file_path: "a\0b" }, /^file_path: must not contain NUL/],
    ["read", { file_path: "a", view_range: [0, 3] }, /^view_range: must be \[start, end\]/],
    ["read", { file_path: "a", view_range: [5, 3] }, /^view_range: end must not be before start/],
    ["write", { file_path: "a" }, /^content: must be a string/],
    ["edit", { file_path: "a", old_string: "", new_string: "b" }, /^old_string: must not be empty/],
    ["edit", { file_path: "a", old_string: "b", new_string: "b" }, /^new_string: is the same/],
    ["glob", { pattern: "" }, /^pattern: must have 1 to/],
    ["grep", { path: "/" }, /^pattern: must be a string/],
  ])("%s %j", async (name, input, words) => {
    expect(await fails(name, input)).toMatch(words);
  });
});

test("bash shows output, exit code, and keeps its folder", async () => {
  expect(await content("bash", { command: "mkdir -p sub && cd sub && pwd" })).toBe("/workspace/sub\n");
  expect(await content("bash", { command: "pwd" })).toBe("/workspace/sub\n");
  expect(await fails("bash", { command: "printf oops; exit 3" })).toBe("oops\n[exit code 3]");
  expect(await content("bash", { restart: true })).toBe("The shell was restarted.");
  expect(await content("bash", { command: "pwd" })).toBe("/workspace\n");
});

test("write, read and ranges", async () => {
  expect(await content("write", { file_path: "notes/a.txt", content: "one\ntwo\nthree\nfour\n" })).toBe(
    "Wrote 19 bytes to /workspace/notes/a.txt.",
  );
  expect(await content("read", { file_path: "/workspace/notes/a.txt" })).toBe("one\ntwo\nthree\nfour\n");
  expect(await content("read", { file_path: "notes/a.txt", view_range: [2, 3] })).toBe("two\nthree");
  expect(await content("read", { file_path: "notes/a.txt", view_range: [3, -1] })).toBe("three\nfour");
  expect(await fails("read", { file_path: "notes/a.txt", view_range: [5, 6] })).toContain("has 4 lines");
  expect(await fails("read", { file_path: "none" })).toBe("/workspace/none: there is no such file or folder");
  expect(await fails("read", { file_path: "notes" })).toBe("/workspace/notes: it is a folder");
  await call("bash", { command: "printf 'a\\0b' > binary" });
  expect(await fails("read", { file_path: "binary" })).toContain("is a binary file");
});

test("a picture is shown as one, told by its bytes, and never too big for the log", async () => {
  const png = Buffer.from(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
    "base64",
  );
  await call("bash", { command: `printf '%s' '${png.toString("base64")}' | base64 -d > dot.dat` });
  const shown = await call("read", { file_path: "dot.dat" });
  expect(shown).toMatchObject({ isError: false, content: "/workspace/dot.dat: image/png, 70 bytes" });
  expect(shown.image?.mediaType).toBe("image/png");
  expect(Buffer.from(shown.image?.data ?? []).equals(png)).toBe(true);
  expect(imageAnswer("big.gif", Buffer.alloc(300_000, "GIF89a"))).toMatchObject({ isError: true });
  expect(imageAnswer("a.png", Buffer.from("\u0089PNG it is not"))).toBeUndefined();
  for (const [bytes, mediaType] of [
    [Buffer.from([0xff, 0xd8, 0xff, 0xe0]), "image/jpeg"],
    [Buffer.from("GIF87a..."), "image/gif"],
    [Buffer.from("RIFF....WEBPVP8 "), "image/webp"],
  ] as const) {
    expect(imageAnswer("x", bytes)?.image?.mediaType).toBe(mediaType);
  }
});

test("a PDF that nothing here can read says so; one that is not there likewise", async () => {
  await call("write", { file_path: "paper.pdf", content: "%PDF-1.4" });
  expect(await fails("read", { file_path: "paper.pdf" })).toContain("neither pdftotext nor python3");
  expect(await fails("read", { file_path: "none.pdf" })).toBe("/workspace/none.pdf: there is no such file or folder");
});

test("edit replaces a unique text, refuses an ambiguous one, and the same call again changes nothing", async () => {
  await call("write", { file_path: "code.py", content: "a = 1\nb = 1\n" });
  expect(await fails("edit", { file_path: "code.py", old_string: "1", new_string: "2" })).toContain("occurs 2 times");
  expect(await fails("edit", { file_path: "code.py", old_string: "zzz", new_string: "2" })).toContain("does not occur");
  const id = newId("sevt");
  const input = { file_path: "code.py", old_string: "a = 1", new_string: "a = a = 1" };
  expect((await call("edit", input, id)).content).toBe("Replaced one occurrence in /workspace/code.py.");
  expect((await call("edit", input, id)).content).toBe("Replaced one occurrence in /workspace/code.py.");
  expect(await content("read", { file_path: "code.py" })).toBe("a = a = 1\nb = 1\n");
  await call("edit", { file_path: "code.py", old_string: "1", new_string: "$&", replace_all: true });
  expect(await content("read", { file_path: "code.py" })).toBe("a = a = $&\nb = $&\n");
});

test("glob finds newest first, below a path or by an absolute pattern", async () => {
  await call("bash", {
    command: "mkdir -p g/x && touch -d '2020-01-01' g/old.ts && touch -d '2024-01-01' g/x/new.ts && touch g/other.js",
  });
  expect(await content("glob", { pattern: "**/*.ts", path: "g" })).toBe("/workspace/g/x/new.ts\n/workspace/g/old.ts");
  expect(await content("glob", { pattern: "/workspace/g/*.js" })).toBe("/workspace/g/other.js");
  expect(await content("glob", { pattern: "*.none" })).toBe("No files found.");
  expect(await fails("glob", { pattern: "*", path: "/nowhere" })).toContain("no such file");
});

test("grep shows file, line and text; a pattern is never taken for an option", async () => {
  await call("write", { file_path: "h/a.txt", content: "first\n-v second 42\n" });
  expect(await content("grep", { pattern: "-v [a-z]+ \\d*[0-9]+", path: "h" })).toContain(
    "/workspace/h/a.txt:2:-v second 42",
  );
  expect(await content("grep", { pattern: "first", path: "h/a.txt" })).toBe("/workspace/h/a.txt:1:first\n");
  expect(await content("grep", { pattern: "absent", path: "h" })).toBe("No matches found.");
  expect((await call("grep", { pattern: "(", path: "h" })).isError).toBe(true);
});

test("what is too long keeps head and tail and says how much is left out", () => {
  const bytes = Buffer.from("é".repeat(MODEL_BYTES));
  const { text, truncated } = boundedText(bytes);
  expect(truncated).toBe(true);
  const leftOut = Number(/\[… (\d+) bytes left out …\]/.exec(text)?.[1]);
  expect(Buffer.byteLength(text.replace(/\n\[….*…\]\n/, ""))).toBe(bytes.length - leftOut);
  expect(text).not.toContain("\ufffd");
  expect(boundedText(Buffer.from("ab"), Buffer.from("yz"), 1000).text).toBe("ab\n[… 1000 bytes left out …]\nyz");
});

test("the same input is the same operation, whatever the order of its fields", () => {
  const hash = (input: unknown) => Buffer.from(inputHash("bash", input)).toString("hex");
  expect(hash({ a: 1, b: { c: [1, 2], d: null } })).toBe(hash({ b: { d: null, c: [1, 2] }, a: 1 }));
  expect(hash({ a: 1 })).not.toBe(hash({ a: 2 }));
  expect(hash({ a: [1, 2] })).not.toBe(hash({ a: [2, 1] }));
});
