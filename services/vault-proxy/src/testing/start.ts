/** For tests only: the real service in this process over memory buckets, with everything it would report collected. */
import { randomBytes } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { NewEvent } from "@manyhands/core";
import { createLogger, createRpcClient, type RpcClient, Secret, testServiceConfig } from "@manyhands/kit";
import { type VaultChange, VaultService } from "@manyhands/protocol";
import { tempDir } from "@manyhands/testkit";
import { type Config, createVaultProxy, type Overrides, type Usage, type VaultProxy } from "../index.ts";
import type { Buckets } from "../store/kv.ts";
import { memoryKv } from "../store/memory-kv.ts";
import type { SessionDirectory } from "../tokens/session-directory.ts";

/** A started service and what it said. */
export type TestVaultProxy = {
  readonly proxy: VaultProxy;
  readonly client: RpcClient<typeof VaultService>;
  readonly buckets: Buckets;
  /** What went to the audit stream. */
  readonly audit: readonly Usage[];
  /** The changes that went there. */
  readonly changes: readonly VaultChange[];
  /** What went to the sessions' logs. */
  readonly events: readonly Usage[];
  /** What was told of pushes, with the session first. */
  readonly pushes: readonly (readonly [string, NewEvent<"push.settled">])[];
  /** Every log line, at the lowest level. */
  readonly logs: readonly string[];
  stop(): Promise<void>;
};

/** What differs from the defaults. */
export type TestOptions = {
  readonly upstreamUrl?: string;
  readonly apiKey?: string | readonly string[];
  readonly keyFile?: string;
  readonly otherKeyFiles?: readonly string[];
  readonly natsUrl?: string;
  /** Where MCP servers may be besides the public internet; default loopback. */
  readonly mcpRanges?: readonly string[];
  readonly idempotentTools?: readonly string[];
  readonly privateRanges?: readonly string[];
  readonly overrides?: Overrides;
};

/** The workspace of every session `sesn_…` that is not named `sesn_missing`. */
export const WORKSPACE = "wrkspc_test";

/** Empty buckets in memory. */
export function memoryBuckets(): Buckets {
  return { vaults: memoryKv(), secrets: memoryKv(), sessions: memoryKv(), receipts: memoryKv() };
}

/** Writes a new key file with mode 0600. */
export async function writeKeyFile(folder: string, name = "key"): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, `${randomBytes(32).toString("base64")}\n`, { mode: 0o600 });
  return path;
}

/** Starts the service on free ports. */
export async function startVaultProxy(options: TestOptions = {}): Promise<TestVaultProxy> {
  const folder = await tempDir("manyhands-vault-");
  const audit: Usage[] = [];
  const changes: VaultChange[] = [];
  const events: Usage[] = [];
  const pushes: [string, NewEvent<"push.settled">][] = [];
  const logs: string[] = [];
  const logger = createLogger({
    service: "vault-proxy",
    level: "trace",
    destination: { write: (line: string) => void logs.push(line) },
  });
  const config: Config = {
    service: testServiceConfig(),
    natsUrl: options.natsUrl ?? "nats://127.0.0.1:1",
    natsReplicas: 1,
    sessionStoreAddress: "127.0.0.1:1",
    key: { type: "file", path: options.keyFile ?? (await writeKeyFile(folder.path)) },
    otherKeyFiles: options.otherKeyFiles ?? [],
    model: {
      listen: "127.0.0.1:0",
      upstreamUrl: options.upstreamUrl ?? "http://127.0.0.1:1",
      apiKeys: [options.apiKey ?? []].flat().map((key) => new Secret(key)),
    },
    git: { listen: "127.0.0.1:0" },
    egress: { listen: "127.0.0.1:0", privateRanges: options.privateRanges ?? [] },
    mcp: {
      privateRanges: options.mcpRanges ?? ["127.0.0.0/8"],
      idempotentTools: options.idempotentTools ?? [],
      leases: { receiptMs: 2000, refreshMs: 8000 },
    },
  };
  const memory = options.natsUrl === undefined;
  const buckets = options.overrides?.buckets ?? memoryBuckets();
  const overrides: Overrides = {
    ...(memory
      ? {
          buckets,
          changes: async (change) => void changes.push(change),
          audit: { write: async (usage: Usage) => void audit.push(usage) },
        }
      : {}),
    events: { write: async (usage) => void events.push(usage) },
    tellPush: async (session, event) => void pushes.push([session, event]),
    sessions: testSessions(() => undefined),
    ...options.overrides,
  };
  const proxy = await createVaultProxy(config, { overrides, logger });
  const client = createRpcClient(VaultService, { address: addressOf(proxy, "grpc"), defaultDeadlineMs: 10_000 });
  return {
    proxy,
    client,
    buckets,
    audit,
    changes,
    events,
    pushes,
    logs,
    async stop() {
      client.close();
      await proxy.stop();
      await folder.cleanup();
    },
  };
}

/** Sessions that all exist but `sesn_missing`, with the network policy that is asked for. */
export function testSessions(networkingOf: (session: string) => unknown): SessionDirectory {
  const json = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
  return {
    workspaceOf: async (session) => (session === "sesn_missing" ? undefined : WORKSPACE),
    configOf: async (session) => ({
      environmentJson: json({ config: { type: "cloud", networking: networkingOf(session) } }),
      agentJson: json({}),
    }),
  };
}

/** One of the service's addresses. */
export function addressOf(proxy: VaultProxy, name: "grpc" | "admin" | "model" | "git" | "egress"): string {
  const address = proxy.addresses[name];
  if (!address) {
    throw new Error(`the service has no address ${name}`);
  }
  return address;
}
