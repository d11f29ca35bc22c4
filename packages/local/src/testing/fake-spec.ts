import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { ProcessSpec } from "../managed-process.ts";

/** How a fake child behaves. */
export type FakeMode = "well" | "crash" | "never-ready" | "stubborn";

/** A spec of a fake child that writes what happens to it into `<dir>/journal`. */
export function fakeSpec(dir: string, service: string, mode: FakeMode = "well", index = 1): ProcessSpec {
  const name = `${service}-${index}`;
  const readyFile = join(dir, `${name}.ready.json`);
  const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));
  return {
    service,
    index,
    command: process.execPath,
    args: ["--import", path("../../bootstrap/end-with-parent.mjs"), path("./fake-service.mjs")],
    env: { FAKE_NAME: name, FAKE_JOURNAL: join(dir, "journal"), FAKE_MODE: mode, MH_READY_FILE: readyFile },
    cwd: dir,
    ready: { kind: "file", file: readyFile },
    readyMs: mode === "never-ready" ? 500 : 10_000,
    logFile: join(dir, `${name}.log`),
    recordFile: join(dir, `${name}.process.json`),
  };
}

/** What the children wrote so far: `start|term <name> <pid>`. */
export function readJournal(dir: string): { what: string; name: string; pid: number }[] {
  let text = "";
  try {
    text = readFileSync(join(dir, "journal"), "utf8");
  } catch {
    // No child has written yet.
  }
  return text
    .split("\n")
    .filter(Boolean)
    .map((line) => {
      const [what = "", name = "", pid = "0"] = line.split(" ");
      return { what, name, pid: Number(pid) };
    });
}
