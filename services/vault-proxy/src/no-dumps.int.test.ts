import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { tempDir } from "@manyhands/testkit";
import { describe, expect, it } from "vitest";
import { forbidDumps } from "./no-dumps.ts";

const MODULE = join(import.meta.dirname, "no-dumps.ts");

/** A real crash of a process that keeps a secret; `before` runs first in it. */
async function crash(before: string, options: string[] = []) {
  const folder = await tempDir("manyhands-dumps-");
  try {
    const script = join(folder.path, "secret.mjs");
    // Put together in memory, so that it is nowhere else.
    const body = `const kept = Buffer.from(["kept", "in", "memory", process.pid].join("-")); globalThis.kept = kept;
      console.log((await import("node:fs")).readFileSync("/proc/self/coredump_filter", "utf8").trim());
      process.abort();`;
    await writeFile(script, `${before}\n${body}`);
    const child = spawn("sh", ["-c", 'ulimit -c unlimited; exec "$@"', "sh", process.execPath, ...options, script], {
      cwd: folder.path,
      stdio: ["ignore", "pipe", "pipe"],
    });
    const said = text(child.stdout);
    const wrong = text(child.stderr);
    const [code, signal] = await once(child, "exit");
    const needle = Buffer.from(`kept-in-memory-${child.pid}`);
    const dumps = (await readdir(folder.path)).filter((name) => name.startsWith("core"));
    const found = await Promise.all(
      dumps.map(async (name) => (await readFile(join(folder.path, name))).includes(needle)),
    );
    return { said: (await said).trim(), wrong: await wrong, signal, code, dumps, found };
  } finally {
    await folder.cleanup();
  }
}

describe("a crash", () => {
  it("of the vault-proxy dumps nothing of its memory, which others do", async () => {
    const others = await crash("");
    const own = await crash(`import { forbidDumps } from ${JSON.stringify(MODULE)}; forbidDumps([]);`);
    expect([others.signal, own.signal]).toEqual(["SIGABRT", "SIGABRT"]);
    expect(Number.parseInt(others.said, 16)).toBeGreaterThan(0);
    expect(Number.parseInt(own.said, 16)).toBe(0);
    // Where the machine keeps dumps in the folder of the process: what was promised, in the dump itself.
    expect(others.found.every(Boolean), "control").toBe(true);
    expect(own.found.some(Boolean)).toBe(false);
    expect(own.dumps.length).toBeLessThanOrEqual(others.dumps.length);
  });

  it.each([
    "--inspect=127.0.0.1:0",
    "--inspect-port=0",
    "--heapsnapshot-signal=SIGUSR2",
    "--heapsnapshot-near-heap-limit=1",
    "--heap-prof",
    "--abort-on-uncaught-exception",
    "--report-on-signal",
    "--report-uncaught-exception",
  ])("cannot be prepared by %s", (option) => {
    expect(() => forbidDumps([option])).toThrow("does not start with --");
    expect(() => forbidDumps(["--max-semi-space-size=4", `--enable-source-maps ${option}`])).toThrow(
      option.split("=")[0],
    );
  });
});
