import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import Anthropic from "@anthropic-ai/sdk";
import { afterEach, beforeEach, expect, test } from "vitest";

const MAIN = fileURLToPath(new URL("main.ts", import.meta.url));
const SLOW = `
name: slow
match: {default: true}
tokens_per_second: 40
steps: [{emit: [{text: "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"}]}]
`;

let directory: string;
let child: ChildProcess | undefined;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "mh-demo-main-"));
});
afterEach(async () => {
  if (child?.exitCode === null && child.kill("SIGKILL")) await once(child, "exit");
  child = undefined;
  rmSync(directory, { recursive: true });
});

test("runs as a process, says when it is ready, and lets a running answer finish on SIGTERM", async () => {
  writeFileSync(join(directory, "slow.yaml"), SLOW);
  const readyFile = join(directory, "ready.json");
  const started = start({ MH_READY_FILE: readyFile, MH_DEMO_MODEL_SCENARIOS: directory, MH_DEMO_MODEL_KEY: "k" });
  await expect.poll(() => existsSync(readyFile), { timeout: 20_000 }).toBe(true);
  const ready = JSON.parse(readFileSync(readyFile, "utf8")) as { addresses: { http: string } };
  expect(ready).toEqual({
    service: "demo-model",
    pid: started.pid,
    addresses: { http: expect.stringMatching(/^127\.0\.0\.1:\d+$/) },
  });
  const client = new Anthropic({ baseURL: `http://${ready.addresses.http}`, apiKey: "k", maxRetries: 0 });
  const stream = client.messages.stream({ model: "m", max_tokens: 500, messages: [{ role: "user", content: "Hi" }] });
  await stream.emitted("text");
  const exited = once(started, "exit");
  started.kill("SIGTERM");
  expect(await stream.finalText()).toContain("fourteen");
  expect(await exited).toEqual([0, null]);
});

test("lists every bad setting and ends with 2, as it does for a bad scenario", async () => {
  const settings = await output({ MH_DEMO_MODEL_LISTEN: "nowhere", MH_DRAIN_MS: "soon" });
  expect(settings.code).toBe(2);
  expect(settings.text).toMatch(/MH_DEMO_MODEL_LISTEN[\s\S]*MH_DRAIN_MS/);
  writeFileSync(join(directory, "bad.yaml"), "name: 3");
  const scenario = await output({ MH_DEMO_MODEL_SCENARIOS: directory });
  expect(scenario.code).toBe(2);
  expect(scenario.text).toContain(join(directory, "bad.yaml: name:"));
});

function start(env: Record<string, string>): ChildProcess {
  const options = { env: { PATH: process.env.PATH, ...env }, stdio: ["ignore", "ignore", "pipe"] as const };
  child = spawn(process.execPath, ["--conditions=source", MAIN], { ...options, stdio: [...options.stdio] });
  return child;
}

async function output(env: Record<string, string>): Promise<{ code: unknown; text: string }> {
  const started = start(env);
  let text = "";
  started.stderr?.on("data", (chunk: Buffer) => {
    text += chunk.toString();
  });
  const [code] = await once(started, "close");
  return { code, text };
}
