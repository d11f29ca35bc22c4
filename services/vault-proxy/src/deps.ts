import { applyStreams, connectBus, publishVaultChange } from "@manyhands/bus";
import { type Clock, createRpcClient, type Logger, newId, type Shell, systemClock } from "@manyhands/kit";
import { SessionService } from "@manyhands/protocol";
import { Agent, type Dispatcher, Pool } from "undici";
import type { Config } from "./config.ts";
import type { KeyEncryptionKey } from "./crypto/envelope.ts";
import { readKeys } from "./crypto/key-source.ts";
import { addressRanges } from "./egress/addresses.ts";
import { type CertificateAuthority, loadCertificateAuthority } from "./egress/certificate-authority.ts";
import { createDialer, type Dialer, type Resolve } from "./egress/dial.ts";
import { type EgressAudit, egressAudit } from "./egress/egress-audit.ts";
import { type SessionEgress, sessionEgress } from "./egress/session-egress.ts";
import { withToken } from "./git/git-proxy.ts";
import { type PushDeps, type Pushes, pushes } from "./git/pushes.ts";
import { readRefs } from "./git/read-refs.ts";
import { CLIENT_TIMES, type ClientTimes } from "./http/client-times.ts";
import { type SessionMcp, sessionMcp } from "./mcp/session-mcp.ts";
import { vettedAgent } from "./net/vetted-agent.ts";
import { outboundUrlJudge, type UrlJudge } from "./policy/outbound-url.ts";
import { type BindingStore, bindingStore } from "./store/binding-store.ts";
import { busKv } from "./store/bus-kv.ts";
import { type CredentialStore, credentialStore } from "./store/credential-store.ts";
import { type DerivedTokenStore, derivedTokenStore } from "./store/derived-token-store.ts";
import type { Buckets } from "./store/kv.ts";
import { type ModelKeyStore, modelKeyStore } from "./store/model-key-store.ts";
import { pushStore } from "./store/push-store.ts";
import { type VaultStore, vaultStore } from "./store/vault-store.ts";
import { grpcSessionDirectory } from "./tokens/grpc-session-directory.ts";
import type { SessionDirectory } from "./tokens/session-directory.ts";
import { type SessionGuard, sessionGuard } from "./tokens/session-guard.ts";
import { type SessionTokens, sessionTokens } from "./tokens/session-tokens.ts";
import { loadSigningKey } from "./tokens/signing-key.ts";
import { auditWriter } from "./usage/audit-writer.ts";
import type { ChangeWriter } from "./usage/change-audit.ts";
import { eventWriter, pushTeller } from "./usage/event-writer.ts";
import type { UsageSink, UsageWriter } from "./usage/usage.ts";
import { usageQueue } from "./usage/usage-queue.ts";

/** Everything the routes and proxies use. */
export type Deps = {
  readonly vaults: VaultStore;
  readonly credentials: CredentialStore;
  readonly bindings: BindingStore;
  readonly derivedTokens: DerivedTokenStore;
  readonly sessions: SessionDirectory;
  readonly tokens: SessionTokens;
  readonly guard: SessionGuard;
  readonly usage: { readonly git: UsageSink; readonly model: UsageSink };
  readonly gitDispatcher: Dispatcher;
  readonly pushes: Pushes;
  readonly modelDispatcher: Dispatcher;
  readonly egress: {
    readonly sessions: SessionEgress;
    readonly dialer: Dialer;
    readonly audit: EgressAudit;
    readonly authority: CertificateAuthority;
    readonly upstreamCa: readonly string[] | undefined;
  };
  readonly times: ClientTimes;
  readonly mcp: SessionMcp;
  readonly modelKeys: ModelKeyStore;
  readonly buckets: Buckets;
  readonly kek: KeyEncryptionKey;
  readonly logger: Logger;
  /** Judges URLs that users store for this service to be sent to. */
  readonly judgeUrl: UrlJudge;
  readonly clock: Clock;
  readonly changes: ChangeWriter;
  /** For readiness: true when the store answers. */
  readonly storeAnswers: () => Promise<boolean>;
};

/** What a test may replace. With all of buckets, audit, changes and events no NATS is needed. */
export type Overrides = {
  readonly buckets?: Buckets;
  readonly sessions?: SessionDirectory;
  readonly audit?: UsageWriter;
  readonly changes?: ChangeWriter;
  readonly events?: UsageWriter;
  readonly tellPush?: PushDeps["tell"];
  readonly clock?: Clock;
  /** How names are resolved, and who may sign upstreams' certificates besides the system's authorities. */
  readonly egress?: { readonly resolve?: Resolve; readonly upstreamCa?: readonly string[] };
  /** How long clients of the hands' listener and of egress may take. */
  readonly times?: ClientTimes;
};

const RPC_DEADLINE_MS = 5000;
const CONNECT_MS = 10_000;
/** A model may think long before its first byte, and git may pack long. */
const FIRST_BYTE_MS = 600_000;
const SILENCE_MS = 300_000;

/** Opens what is needed; each opened thing stops with the lifecycle. */
export async function createDeps(config: Config, shell: Shell, overrides: Overrides = {}): Promise<Deps> {
  const { lifecycle, logger } = shell;
  const clock = overrides.clock ?? systemClock;
  // First, because a wrong key file must end the start before anything else happens.
  const kek = await readKeys(config.key, config.otherKeyFiles);
  const client = createRpcClient(SessionService, {
    address: config.sessionStoreAddress,
    defaultDeadlineMs: RPC_DEADLINE_MS,
    retryReads: ["getSession"],
    metrics: shell.metrics,
  });
  lifecycle.onStop("session-store client", () => client.close());
  const { buckets, audit, changes } = await openStore(config, shell, overrides);
  const signingKey = await loadSigningKey(buckets.secrets, kek);
  const tokens = sessionTokens(signingKey, clock);
  const bindings = bindingStore(buckets.sessions, kek);
  const guard = sessionGuard(tokens, bindings, clock);
  await guard.follow(buckets.sessions, lifecycle.signal);
  const vaults = vaultStore(buckets, clock);
  const auditQueue = usageQueue(audit, { name: "audit", logger, lifecycle });
  const events = usageQueue(overrides.events ?? eventWriter(client), { name: "events", logger, lifecycle });
  const credentials = credentialStore(buckets, vaults, kek, clock);
  const derivedTokens = derivedTokenStore(buckets.secrets, kek, clock);
  const sessions = overrides.sessions ?? grpcSessionDirectory(client);
  const mayBePrivate = addressRanges(config.mcp.privateRanges);
  const dispatcher = vettedAgent({
    dialer: createDialer(mayBePrivate, overrides.egress?.resolve),
    mayBePrivate,
    connections: 256,
  });
  lifecycle.onStop("MCP connections", () => dispatcher.destroy());
  const gitDispatcher = upstreamPool("git", 512, lifecycle);
  return {
    changes,
    vaults,
    credentials,
    bindings,
    derivedTokens,
    sessions,
    tokens,
    guard,
    usage: { git: both(auditQueue, events), model: auditQueue },
    mcp: sessionMcp({
      dispatcher,
      buckets,
      credentials,
      idempotentTools: config.mcp.idempotentTools,
      leases: config.mcp.leases,
      usage: both(auditQueue, events),
      clock,
      logger: logger.child({ part: "mcp" }),
      lifecycle,
    }),
    modelKeys: modelKeyStore(buckets, kek, clock),
    buckets,
    kek,
    logger,
    judgeUrl: outboundUrlJudge(mayBePrivate),
    gitDispatcher,
    pushes: pushes({
      store: pushStore(buckets.receipts, newId("vp"), config.mcp.leases.receiptMs, clock),
      leaseMs: config.mcp.leases.receiptMs,
      refsOf: async (session, workspace, url) => {
        const bound = await bindings.repository(session, workspace, url);
        return bound && (await readRefs(gitDispatcher, bound, withToken({}, bound.token)));
      },
      tell: overrides.tellPush ?? pushTeller(client),
      clock,
      logger: logger.child({ part: "git" }),
      signal: lifecycle.signal,
    }),
    modelDispatcher: upstreamPool("model", 512, lifecycle, new URL(config.model.upstreamUrl).origin),
    egress: {
      sessions: sessionEgress({
        sessions,
        bindings,
        credentials,
        derivedTokens,
        placeholderKey: signingKey.secret,
        clock,
      }),
      dialer: createDialer(addressRanges(config.egress.privateRanges), overrides.egress?.resolve),
      audit: egressAudit({ all: auditQueue, credentials: events }, clock),
      authority: await loadCertificateAuthority(buckets.secrets, kek, clock),
      upstreamCa: overrides.egress?.upstreamCa,
    },
    times: overrides.times ?? CLIENT_TIMES,
    clock,
    storeAnswers: async () => {
      await buckets.vaults.get("readiness");
      return true;
    },
  };
}

async function openStore(
  config: Config,
  shell: Shell,
  overrides: Overrides,
): Promise<{ buckets: Buckets; audit: UsageWriter; changes: ChangeWriter }> {
  if (overrides.buckets && overrides.audit && overrides.changes) {
    return { buckets: overrides.buckets, audit: overrides.audit, changes: overrides.changes };
  }
  const { lifecycle, logger } = shell;
  const bus = await connectBus({
    url: config.natsUrl,
    name: `vault-proxy ${shell.instanceId}`,
    inboxPrefix: "_INBOX_vault_proxy",
    logger: logger.child({ part: "bus" }),
    signal: lifecycle.signal,
  });
  lifecycle.onStop("bus", () => bus.close());
  const streams = [
    "MH_AUDIT",
    "KV_MH_VAULTS",
    "KV_MH_VAULT_SECRETS",
    "KV_MH_VAULT_SESSIONS",
    "KV_MH_VAULT_RECEIPTS",
  ] as const;
  await applyStreams(bus, { replicas: config.natsReplicas, streams });
  const buckets = overrides.buckets ?? {
    vaults: await busKv(bus, "MH_VAULTS"),
    secrets: await busKv(bus, "MH_VAULT_SECRETS"),
    sessions: await busKv(bus, "MH_VAULT_SESSIONS"),
    receipts: await busKv(bus, "MH_VAULT_RECEIPTS"),
  };
  const changes: ChangeWriter = overrides.changes ?? ((change) => publishVaultChange(bus, change));
  return { buckets, audit: overrides.audit ?? auditWriter(bus), changes };
}

/** Connections to any origin, or to a single one, which saves looking it up for each request. */
function upstreamPool(name: string, connections: number, lifecycle: Shell["lifecycle"], origin?: string): Dispatcher {
  const options = {
    connections,
    pipelining: 1,
    connect: { timeout: CONNECT_MS },
    headersTimeout: FIRST_BYTE_MS,
    bodyTimeout: SILENCE_MS,
    keepAliveTimeout: 30_000,
    keepAliveMaxTimeout: 120_000,
  };
  const dispatcher = origin === undefined ? new Agent(options) : new Pool(origin, options);
  lifecycle.onStop(`${name} upstream connections`, () => dispatcher.destroy());
  return dispatcher;
}

function both(first: UsageSink, second: UsageSink): UsageSink {
  return {
    record(usage) {
      first.record(usage);
      second.record(usage);
    },
  };
}
