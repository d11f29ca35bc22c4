/** A running gateway over the in-memory backend, with keys of two workspaces and an unchanged official client. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import Anthropic, { type ClientOptions } from "@anthropic-ai/sdk";
import { createLogger, testServiceConfig } from "@manyhands/kit";
import { tempDir } from "@manyhands/testkit";
import { hashApiKey } from "../api-keys.ts";
import { type Config, defaultLimits, type Limits } from "../config.ts";
import { createGateway } from "../index.ts";
import { type MemoryBackend, startMemoryBackend } from "./memory-backend.ts";

/** Keys of the tests; not secrets of anything. */
export const testKeys = { acme: "mh-test-key-acme", globex: "mh-test-key-globex" };

/** What a test gets. */
export type GatewayHarness = {
  readonly url: string;
  readonly backend: MemoryBackend;
  readonly keysFile: string;
  /** Everything logged so far, at the lowest level. */
  logs(): string;
  client(options?: ClientOptions): Anthropic;
  /** Plain HTTP with the key of `acme`. */
  fetch(path: string, init?: RequestInit): Promise<Response>;
  /** Stops only the gateway. */
  stopGateway(): Promise<unknown>;
  stop(): Promise<void>;
};

/** The file's content for the test keys. */
export function keysFileText(names: readonly (keyof typeof testKeys)[] = ["acme", "globex"]): string {
  const keys = names.map((name) => ({
    id: `key_${name}`,
    workspace_id: `wrkspc_${name}`,
    sha256: hashApiKey(testKeys[name]),
  }));
  return JSON.stringify({ keys });
}

/** Starts a gateway over a new in-memory backend. */
export async function startGatewayHarness(limits: Partial<Limits> = {}): Promise<GatewayHarness> {
  const backend = await startMemoryBackend();
  const dir = await tempDir();
  const keysFile = join(dir.path, "keys.json");
  await writeFile(keysFile, keysFileText());
  const config: Config = {
    service: testServiceConfig(),
    httpListen: "127.0.0.1:0",
    apiKeysFile: keysFile,
    sessionStoreAddress: backend.address,
    vaultProxyAddress: backend.address,
    sandboxManagerAddress: backend.address,
    harnessAddress: backend.address,
    limits: { ...defaultLimits, callMs: 5000, ...limits },
  };
  const lines: string[] = [];
  const destination = { write: (line: string) => void lines.push(line) };
  const running = await createGateway(config, {
    logger: createLogger({ service: "gateway", level: "trace", destination }),
  });
  const url = `http://${running.addresses.http}`;
  return {
    url,
    backend,
    keysFile,
    logs: () => lines.join(""),
    client: (options) => new Anthropic({ baseURL: url, apiKey: testKeys.acme, ...options }),
    fetch: (path, init = {}) => {
      const headers = new Headers(init.headers);
      if (!headers.has("authorization")) headers.set("authorization", `Bearer ${testKeys.acme}`);
      return fetch(`${url}${path}`, { ...init, headers });
    },
    stopGateway: () => running.stop("test"),
    async stop() {
      await running.stop("test over");
      await backend.stop();
      await dir.cleanup();
    },
  };
}

/** An agent, an environment and a session of them. */
export async function makeSession(client: Anthropic) {
  const agent = await client.beta.agents.create({
    name: "Fixer",
    model: "demo",
    tools: [{ type: "agent_toolset_20260401" }],
  });
  const environment = await client.beta.environments.create({ name: "plain" });
  const session = await client.beta.sessions.create({ agent: agent.id, environment_id: environment.id });
  return { agent, environment, session };
}
