import { execFile } from "node:child_process";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { tempDir } from "@manyhands/testkit";
import { expect, test } from "vitest";

const PROTO = fileURLToPath(new URL("../proto", import.meta.url));
const GEN = fileURLToPath(new URL("./gen", import.meta.url));
const BIN = fileURLToPath(new URL("../../../node_modules/.bin", import.meta.url));

/** Every file below a folder with its text, by relative path. */
function filesOf(folder: string): Record<string, string> {
  const paths = readdirSync(folder, { recursive: true, encoding: "utf8" }).sort();
  return Object.fromEntries(
    paths
      .filter((path) => statSync(join(folder, path)).isFile())
      .map((path) => [path, readFileSync(join(folder, path), "utf8")]),
  );
}

test("the generated code is what the protos generate", async () => {
  await using dir = await tempDir();
  const env = { ...process.env, PATH: [BIN, dirname(process.execPath), process.env.PATH].join(delimiter) };
  // The template writes to ../src/gen, so the output folder must be one level down as well.
  await promisify(execFile)(join(BIN, "buf"), ["generate", "-o", join(dir.path, "proto")], { cwd: PROTO, env });
  expect(filesOf(join(dir.path, "src", "gen"))).toEqual(filesOf(GEN));
});
