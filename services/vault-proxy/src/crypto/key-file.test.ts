import { randomBytes } from "node:crypto";
import { chmod, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TempDir, tempDir } from "@manyhands/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { KeyFileError, readKeyFile } from "./key-file.ts";

describe("key file", () => {
  let folder: TempDir;
  const good = randomBytes(32).toString("base64");
  const write = async (name: string, text: string, mode: number) => {
    const path = join(folder.path, name);
    await writeFile(path, text);
    await chmod(path, mode);
    return path;
  };
  beforeAll(async () => {
    folder = await tempDir();
  });
  afterAll(() => folder.cleanup());

  it.each([0o600, 0o400])("reads a key with mode %o", async (mode) => {
    const key = readKeyFile(await write(`ok-${mode}`, `${good}\n`, mode));
    expect(key.bytes).toEqual(new Uint8Array(Buffer.from(good, "base64")));
  });

  it.each([0o644, 0o640, 0o604, 0o700, 0o666])("refuses mode %o", async (mode) => {
    const path = await write(`open-${mode}`, good, mode);
    expect(() => readKeyFile(path)).toThrow(/has mode 0/);
  });

  it.each([
    ["empty", ""],
    ["short", randomBytes(31).toString("base64")],
    ["long", randomBytes(33).toString("base64")],
    ["hex", randomBytes(32).toString("hex")],
    ["two", `${good}\n${good}\n`],
    ["huge", "A".repeat(1000)],
  ])("refuses a file that is %s, without showing its text", async (name, text) => {
    const path = await write(`bad-${name}`, text, 0o600);
    const failure = (() => {
      try {
        return readKeyFile(path);
      } catch (error) {
        return error;
      }
    })();
    expect(failure).toBeInstanceOf(KeyFileError);
    expect(String(failure)).toContain("32 random bytes");
    if (text) {
      expect(String(failure)).not.toContain(text.slice(0, 20));
    }
  });

  it("says that the file is missing or a folder", async () => {
    expect(() => readKeyFile(join(folder.path, "none"))).toThrow(/cannot be opened \(ENOENT\)/);
    const path = join(folder.path, "folder");
    await mkdir(path);
    expect(() => readKeyFile(path)).toThrow(/is not a file/);
  });
});
