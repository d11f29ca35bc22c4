import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { rootDir } from "./paths.ts";

const run = (...args: string[]) =>
  spawnSync(process.execPath, [join(rootDir, "packages", "local", "bootstrap.mjs"), ...args], { encoding: "utf8" });

describe("bootstrap", () => {
  it.each(["start", "demo", "test", "bench", "verify", "setup"])(
    "explains %s without setting anything up",
    (command) => {
      const { status, stdout, stderr } = run(command, "--help");
      expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
      expect(stdout).toMatch(/npm|bootstrap/);
    },
  );

  it("refuses a command it does not know", () => {
    const { status, stderr } = run("strat");
    expect(status).toBe(2);
    expect(stderr).toContain('there is no command "strat"');
  });
});
