/** The README's example is run as it stands. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { startPlatform } from "@manyhands/local";
import { expect, it } from "vitest";
import { runProcess } from "../support/run-process.ts";
import { root } from "../tidy/sources.ts";

it("runs the SDK example of the README", async () => {
  const readme = readFileSync(path.join(root, "README.md"), "utf8");
  const example = /```ts\n([\s\S]*?)```/.exec(readme)?.[1];
  expect(example).toBeDefined();
  expect(example?.trim().split("\n").length).toBeLessThanOrEqual(20);

  const platform = await startPlatform({ handDriver: "virtual" });
  // Beside this file, so that the example finds the SDK the way a project that has installed it does.
  const folder = mkdtempSync(path.join(import.meta.dirname, ".readme-"));
  try {
    writeFileSync(path.join(folder, "example.ts"), example ?? "");
    const { devJson } = platform;
    const { code, stdout, stderr } = await runProcess(process.execPath, [path.join(folder, "example.ts")], {
      timeoutMs: 60_000,
      env: { MANYHANDS_URL: devJson.gateway_url, MANYHANDS_API_KEY: devJson.api_key },
    });
    expect(code, stderr).toBe(0);
    expect(stdout).toMatch(/type: 'text'/);
  } finally {
    rmSync(folder, { recursive: true, force: true });
    await platform.stop();
  }
});
