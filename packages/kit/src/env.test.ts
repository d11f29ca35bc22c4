import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { ConfigDescription, ConfigError, describeOnly, type Env, formatVariables, readEnv } from "./env.ts";
import { readServiceConfig } from "./service.ts";

const doc = "What it is for.";

function readAll(env: Env) {
  const reader = readEnv(env);
  const config = {
    name: reader.string("MH_NAME", { doc }),
    note: reader.optional("MH_NOTE", { doc }),
    sizeBytes: reader.integer("MH_SIZE_BYTES", { default: 10, min: 1, max: 100, doc }),
    fast: reader.boolean("MH_FAST", { default: false, doc }),
    mode: reader.oneOf("MH_MODE", ["a", "b"], { default: "a", doc }),
    url: reader.url("MH_URL", { default: "nats://127.0.0.1:4222", protocols: ["nats:", "tls:"], doc }),
    listen: reader.address("MH_LISTEN", { default: "127.0.0.1:0", doc }),
    names: reader.list("MH_NAMES", { default: [], doc }),
    key: reader.secret("MH_KEY", { doc }),
  };
  reader.done();
  return config;
}

function problemsOf(env: Env): readonly string[] {
  try {
    readAll(env);
  } catch (error) {
    if (error instanceof ConfigError) {
      return error.problems;
    }
    throw error;
  }
  return [];
}

describe("readEnv", () => {
  test("reads every kind and fills in defaults", () => {
    const config = readAll({ MH_NAME: "n", MH_KEY: "k", MH_SIZE_BYTES: "42", MH_FAST: "yes", MH_NAMES: " x, ,y " });
    expect(config).toMatchObject({
      name: "n",
      note: undefined,
      sizeBytes: 42,
      fast: true,
      mode: "a",
      names: ["x", "y"],
    });
    expect(config.key.reveal()).toBe("k");
  });

  test("reports all problems at once, each with its name and rule", () => {
    const problems = problemsOf({
      MH_SIZE_BYTES: "1000",
      MH_FAST: "maybe",
      MH_MODE: "c",
      MH_URL: "http://user:hunter2@host/",
      MH_LISTEN: "host:99999",
    });
    expect(problems).toHaveLength(7);
    const text = problems.join("\n");
    expect(text).toContain("MH_NAME is required: What it is for.");
    expect(text).toContain('MH_SIZE_BYTES must be a whole number from 1 to 100, got "1000"');
    expect(text).toContain('MH_FAST must be true or false, got "maybe"');
    expect(text).toContain("MH_MODE must be one of a, b");
    expect(text).toContain("MH_URL must be a URL starting with nats: or tls:");
    expect(text).toContain("MH_LISTEN must be host:port");
    expect(text).toContain("MH_KEY (or MH_KEY_FILE) is required");
    expect(text).not.toContain("hunter2");
  });

  test.each(["", "1.5", "0x10", "1e2", "ten", "99999999999999999999"])("does not take %j for a whole number", (raw) => {
    const reader = readEnv({ MH_N: raw });
    reader.integer("MH_N", { doc });
    expect(() => reader.done()).toThrow(ConfigError);
  });

  test("a secret can come from a file, but not from both", () => {
    const folder = mkdtempSync(join(tmpdir(), "manyhands-env-"));
    const path = join(folder, "key");
    writeFileSync(path, "from-file\n");
    try {
      expect(readAll({ MH_NAME: "n", MH_KEY_FILE: path }).key.reveal()).toBe("from-file");
      expect(problemsOf({ MH_NAME: "n", MH_KEY_FILE: path, MH_KEY: "k" })).toEqual([
        "MH_KEY and MH_KEY_FILE are both set; set one",
      ]);
      expect(problemsOf({ MH_NAME: "n", MH_KEY_FILE: join(folder, "none") }).join()).toContain("ENOENT");
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test("an environment made for help lists every variable with unit and default instead of problems", () => {
    let table = "";
    try {
      readAll(describeOnly());
    } catch (error) {
      expect(error).toBeInstanceOf(ConfigDescription);
      table = error instanceof ConfigDescription ? formatVariables(error.variables) : "";
    }
    expect(table).toContain("MH_SIZE_BYTES");
    expect(table).toContain("(integer; bytes; default 10)");
    expect(table).toContain("(secret (or MH_KEY_FILE))");
  });

  test("the settings every service has keep their names and defaults", () => {
    const reader = readEnv({ MH_INSTANCE_ID: "one" });
    const config = readServiceConfig(reader);
    reader.done();
    expect(config).toEqual({
      grpcListen: "127.0.0.1:0",
      adminListen: "127.0.0.1:0",
      logLevel: "info",
      instanceId: "one",
      drainMs: 10_000,
    });
  });
});
