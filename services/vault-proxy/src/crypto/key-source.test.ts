import { randomBytes } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Secret } from "@manyhands/kit";
import { tempDir } from "@manyhands/testkit";
import { afterAll, beforeAll, expect, it } from "vitest";
import { keyEncryptionKey, open, seal } from "./envelope.ts";
import { readKeys } from "./key-source.ts";

const bytes = () => randomBytes(32);
const context = { workspace: "w", vault: "v", credential: "c", version: "1", field: "f" };
let folder: Awaited<ReturnType<typeof tempDir>>;
beforeAll(async () => {
  folder = await tempDir("manyhands-key-");
});
afterAll(() => folder.cleanup());

async function keyFile(key: Buffer, name: string, mode = 0o600): Promise<string> {
  const path = join(folder.path, name);
  await writeFile(path, key.toString("base64"), { mode });
  return path;
}

it("has the same key from a file, the environment and a command", async () => {
  const key = bytes();
  const path = await keyFile(key, "same");
  const { id } = keyEncryptionKey(new Uint8Array(key));
  const value = new Secret(key.toString("base64"));
  expect((await readKeys({ type: "file", path }, [])).id).toBe(id);
  expect((await readKeys({ type: "environment", value }, [])).id).toBe(id);
  expect((await readKeys({ type: "command", argv: ["cat", path] }, [])).id).toBe(id);
});

it("opens what another key sealed, and seals with the current one alone", async () => {
  const [old, current] = [bytes(), bytes()];
  const keys = await readKeys({ type: "file", path: await keyFile(current, "new") }, [await keyFile(old, "old")]);
  const before = seal(keyEncryptionKey(new Uint8Array(old)), context, new Secret("s3cret"));
  expect(open(keys, context, before).reveal()).toBe("s3cret");
  expect(seal(keys, context, new Secret("x")).kek).toBe(keys.id);
  expect(() => open({ ...keys, older: [] }, context, before)).toThrow(/sealed with kek_/);
});

it.each<[string, string[], string]>([
  ["a command that fails", ["sh", "-c", "echo topsecret >&2; exit 3"], "exit code 3"],
  ["a command that is not there", ["/does/not/exist"], "ENOENT"],
  ["a command that prints something else", ["echo", "hello"], "must be 32 bytes in base64"],
])("refuses %s without quoting it", async (_, argv, words) => {
  const failed = readKeys({ type: "command", argv }, []);
  await expect(failed).rejects.toThrow(words);
  await expect(failed).rejects.not.toThrow(/topsecret|hello/);
});

it("refuses another key's file that others may read", async () => {
  const path = await keyFile(bytes(), "good");
  const loose = await keyFile(bytes(), "loose", 0o644);
  await expect(readKeys({ type: "file", path }, [loose])).rejects.toThrow(/mode 0644/);
});
