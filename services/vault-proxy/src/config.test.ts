import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { tempDir } from "@manyhands/testkit";
import { afterAll, beforeAll, expect, it } from "vitest";
import { readConfig } from "./config.ts";

let folder: Awaited<ReturnType<typeof tempDir>>;
const file = (name: string, text: string) => {
  const path = join(folder.path, name);
  writeFileSync(path, text);
  return path;
};
const upstream = (env: Record<string, string>) => {
  const needed = { MH_SESSION_STORE_ADDR: "127.0.0.1:1", MH_VAULT_KEY_FILE: file("vault-key", "unread here") };
  return readConfig({ ...needed, ...env }).model;
};

beforeAll(async () => {
  folder = await tempDir("manyhands-vault-config-");
});
afterAll(() => folder.cleanup());

it("asks the demo model only when nothing names a real one; an empty key file is no key", () => {
  const demo = { MH_DEMO_MODEL_URL: "http://demo-model:8080", MH_DEMO_MODEL_KEY_FILE: file("demo", "demo-1") };
  const empty = { ...demo, MH_MODEL_API_KEY_FILE: file("empty", "\n"), MH_MODEL_UPSTREAM_URL: "" };
  const key = { ...demo, MH_MODEL_API_KEY_FILE: file("key", "sk-ant-1\n") };
  expect(upstream(empty).upstreamUrl).toBe("http://demo-model:8080");
  expect(upstream(empty).apiKeys.map((one) => one.reveal())).toEqual(["demo-1"]);
  expect(upstream(key).upstreamUrl).toBe("https://api.anthropic.com");
  expect(upstream(key).apiKeys.map((one) => one.reveal())).toEqual(["sk-ant-1"]);
  expect(upstream({ ...key, MH_MODEL_UPSTREAM_URL: "http://gateway:9" }).upstreamUrl).toBe("http://gateway:9");
  const keyless = upstream({ ...empty, MH_MODEL_UPSTREAM_URL: "http://gateway:9" });
  expect(keyless).toMatchObject({ upstreamUrl: "http://gateway:9", apiKeys: [] });
  expect(upstream({}).upstreamUrl).toBe("https://api.anthropic.com");
});
