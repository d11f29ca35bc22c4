import { describe, expect, it } from "vitest";
import { pathsIn } from "./paths.ts";
import { type Plan, portNames, processWaves, serviceEnv, stopOrder } from "./service-specs.ts";

const replicas = { harness: 2, sandboxManager: 3 };
const plan: Plan = {
  paths: pathsIn("/state"),
  ports: new Map(portNames(replicas).map((name, index) => [name, 21_000 + index])),
  natsBinary: "/bin/nats-server",
  natsConfFile: "/state/run/nats.conf",
  replicas,
  hands: { driver: "docker", why: "", image: "manyhands/hand:dev", agent: "/agent", socket: "/docker.sock" },
  modelUrl: "https://model.example",
  modelKeyFile: "/state/run/model-key",
  demoModelKey: undefined,
  apiKeysFile: "/state/data/api-keys.json",
  vaultKeyFile: "/state/data/vault-key",
  env: { harness: { MH_LOG_LEVEL: "debug" } },
  machineEnv: {
    PATH: "/bin",
    ANTHROPIC_API_KEY: "sk-canary",
    AWS_SECRET: "canary",
    HTTPS_PROXY: "http://proxy:1",
    MH_LOG_LEVEL: "warn",
  },
};

describe("what each process gets", () => {
  const all = processWaves(plan).flat();

  it("never holds a secret of the machine, in any process", () => {
    expect(JSON.stringify(all)).not.toContain("canary");
  });

  it("names the key files and the way out of the machine to the vault-proxy alone", () => {
    for (const spec of all.filter(({ service }) => service !== "vault-proxy")) {
      expect(Object.keys(spec.env)).not.toContain("MH_VAULT_KEY_FILE");
      expect(Object.keys(spec.env)).not.toContain("MH_MODEL_API_KEY_FILE");
      expect(Object.keys(spec.env)).not.toContain("HTTPS_PROXY");
    }
    expect(serviceEnv(plan, "vault-proxy", 1)).toMatchObject({
      MH_VAULT_KEY_FILE: "/state/data/vault-key",
      MH_MODEL_API_KEY_FILE: "/state/run/model-key",
      MH_MODEL_UPSTREAM_URL: "https://model.example",
      HTTPS_PROXY: "http://proxy:1",
      NO_PROXY: "127.0.0.1,localhost",
    });
  });

  it("gives every replica addresses of its own, and others the list of all", () => {
    const grpc = all.filter(({ service }) => service === "sandbox-manager").map(({ env }) => env.MH_GRPC_LISTEN);
    expect(new Set(grpc).size).toBe(3);
    expect(serviceEnv(plan, "harness", 1).MH_SANDBOX_MANAGER_ADDR).toBe(grpc.join(","));
    expect(all.map(({ service, index }) => `${service}-${index}`)).toContain("harness-2");
  });

  it("lets the caller's settings win", () => {
    expect(serviceEnv(plan, "harness", 2).MH_LOG_LEVEL).toBe("debug");
    expect(serviceEnv(plan, "gateway", 1).MH_LOG_LEVEL).toBe("warn");
  });

  it("starts the demo model only when no real model is used", () => {
    expect(all.map(({ service }) => service)).not.toContain("demo-model");
    expect(
      processWaves({ ...plan, demoModelKey: "k" })
        .flat()
        .map(({ service }) => service),
    ).toContain("demo-model");
  });

  it("stops callers before what they call, NATS last", () => {
    expect(stopOrder).toEqual([
      "gateway",
      "harness",
      "sandbox-manager",
      "vault-proxy",
      "session-store",
      "demo-model",
      "nats",
    ]);
  });
});
