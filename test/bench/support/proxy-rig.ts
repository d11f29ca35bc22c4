/** vault-proxy as a process of its own, and upstreams in this one, for comparing what goes through it with what does not. */
import { randomBytes } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { createServer as createTlsServer } from "node:https";
import path from "node:path";
import { createRpcClient, systemClock } from "@manyhands/kit";
import { Audience, SessionService, VaultService } from "@manyhands/protocol";
import { type GitServer, startGitServer, startNatsServer, tempDir } from "@manyhands/testkit";
import { keyEncryptionKey } from "../../../services/vault-proxy/src/crypto/envelope.ts";
import { loadCertificateAuthority } from "../../../services/vault-proxy/src/egress/certificate-authority.ts";
import { memoryKv } from "../../../services/vault-proxy/src/store/memory-kv.ts";
import { type GitInHand, gitInHand } from "../../../services/vault-proxy/src/testing/git-in-hand.ts";
import { ServiceProcess } from "../../support/service-process.ts";
import { startBareTlsRelay } from "./bare-tls-relay.ts";

/** What is measured with. */
export type ProxyRig = {
  /** `host:port` of vault-proxy's listeners. */
  readonly model: string;
  readonly egress: string;
  /** Base URL of the upstream behind both: `/v1/messages`, `/small`, `/download`. */
  readonly upstream: string;
  /** `host:port` of the same upstream behind TLS, and who signed its certificate. */
  readonly secureUpstream: string;
  readonly upstreamCa: string;
  /** `host:port` of a bare relay before it that ends TLS, with a certificate of the same authority. */
  readonly relay: string;
  /** A session token for everything. */
  readonly token: string;
  /** One of a session with a credential for the upstream behind TLS, so that TLS ends at the proxy, and whom it trusts. */
  readonly intercepted: { readonly token: string; readonly ca: string };
  readonly git: GitServer;
  readonly gitToken: string;
  /** git whose requests go through the proxy. */
  readonly hand: GitInHand;
  stop(): Promise<void>;
};

/** Sizes of the downloads, in bytes. */
export const DOWNLOAD_BYTES = 100 * 1024 * 1024;
const REPOSITORY_BYTES = 50 * 1024 * 1024;
const FILES = 50;
/** Between the first and the last byte of a streamed model answer, in milliseconds. */
export const STREAM_MS = 100;

/** Starts everything; what was started is ended when a later part does not start. */
export async function startProxyRig(): Promise<ProxyRig> {
  const closers: (() => unknown)[] = [];
  const stop = async () => {
    for (const closer of closers.splice(0).reverse()) await closer();
  };
  try {
    const folder = await tempDir("manyhands-bench-");
    closers.push(() => folder.cleanup());
    const nats = await startNatsServer({ syncAlways: true });
    closers.push(() => nats.stop());
    const upstreamServer = createServer(answer);
    const upstream = `http://127.0.0.1:${await listen(upstreamServer)}`;
    closers.push(() => {
      upstreamServer.closeAllConnections();
      upstreamServer.close();
    });
    const authority = await loadCertificateAuthority(memoryKv(), keyEncryptionKey(randomBytes(32)), systemClock);
    const certificate = await authority.certify({ host: "localhost", port: 443, address: false });
    const secureServer = createTlsServer(certificate, answer);
    const securePort = await listen(secureServer);
    const secureUpstream = `localhost:${securePort}`;
    closers.push(() => {
      secureServer.closeAllConnections();
      secureServer.close();
    });
    const bare = await startBareTlsRelay({ ...certificate, ca: authority.pem, port: securePort });
    closers.push(() => bare.stop());
    const gitToken = randomBytes(16).toString("hex");
    const git = await startGitServer({ repositories: { big: bigRepository() }, token: gitToken });
    closers.push(() => git.stop());
    const upstreamCa = authority.pem;
    const caFile = path.join(folder.path, "upstream-ca.pem");
    await writeFile(caFile, upstreamCa);
    const keyFile = path.join(folder.path, "vault.key");
    await writeFile(keyFile, randomBytes(32).toString("base64"), { mode: 0o600 });
    const start = async (service: "session-store" | "vault-proxy", env: Record<string, string>) => {
      const made = await ServiceProcess.create({
        service,
        name: service,
        folder: folder.path,
        env: { MH_NATS_URL: nats.url, ...env },
      });
      closers.push(() => made.end("SIGTERM"));
      await made.start();
      return made;
    };
    const store = await start("session-store", { MH_NATS_MONITOR_URL: nats.monitorUrl });
    const vault = await start("vault-proxy", {
      MH_SESSION_STORE_ADDR: store.address,
      MH_VAULT_KEY_FILE: keyFile,
      MH_MODEL_UPSTREAM_URL: upstream,
      MH_MODEL_API_KEY: "bench",
      MH_EGRESS_PRIVATE_RANGES: "127.0.0.0/8",
      // Whom the proxy trusts besides the system's authorities, where TLS ends there.
      NODE_EXTRA_CA_CERTS: caFile,
    });
    const { token, intercepted } = await bindSessions(store.address, vault.address, git.repoUrl("big"), gitToken);
    const { model = "", egress = "", git: gitAddress = "" } = vault.addresses;
    const hand = await gitInHand(gitAddress, [git.url], token);
    closers.push(() => hand.stop());
    const upstreams = { upstream, secureUpstream, upstreamCa, relay: bare.address };
    return { model, egress, ...upstreams, token, intercepted, git, gitToken, hand, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Sessions whose hands may reach everything: one without credentials for the upstream, and one with. */
async function bindSessions(store: string, vault: string, url: string, authorizationToken: string) {
  const sessions = createRpcClient(SessionService, { address: store, defaultDeadlineMs: 10_000 });
  const vaults = createRpcClient(VaultService, { address: vault, defaultDeadlineMs: 10_000 });
  const json = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
  const workspaceId = "wrkspc_bench";
  const bind = async (vaultIds: string[], repositories: { url: string; authorizationToken: string }[]) => {
    const { session } = await sessions.createSession({
      workspaceId,
      agentJson: json({ id: "agent_bench", version: 1, model: { id: "none" } }),
      environmentJson: json({ id: "env_bench", config: { type: "cloud", networking: { type: "unrestricted" } } }),
    });
    const sessionId = session?.id ?? "";
    await vaults.bindSession({ workspaceId, sessionId, vaultIds, repositories });
    const audiences = [Audience.MODEL, Audience.GIT, Audience.EGRESS];
    return { sessionId, token: (await vaults.mintSessionToken({ sessionId, audiences })).token };
  };
  try {
    const made = await vaults.createVault({ workspaceId, displayName: "bench" });
    const vaultId = made.vault?.id ?? "";
    const auth = {
      type: "environment_variable",
      secret_name: "API_KEY",
      secret_value: randomBytes(24).toString("hex"),
      networking: { type: "limited", allowed_hosts: ["localhost"] },
    };
    await vaults.createCredential({ workspaceId, vaultId, authJson: json(auth) });
    const { token } = await bind([], [{ url, authorizationToken }]);
    const keyed = await bind([vaultId], []);
    const { authorityPem } = await vaults.describeEgress({ sessionId: keyed.sessionId });
    return { token, intercepted: { token: keyed.token, ca: authorityPem } };
  } finally {
    sessions.close();
    vaults.close();
  }
}

function bigRepository(): Record<string, Uint8Array> {
  return Object.fromEntries(
    Array.from({ length: FILES }, (_, index) => [`data/${index}.bin`, randomBytes(REPOSITORY_BYTES / FILES)]),
  );
}

const chunk = randomBytes(64 * 1024);

/** The upstream: answers at once, streams slowly, or sends much. */
const answer: Parameters<typeof createServer>[1] = (request, response) => {
  request.resume();
  if (request.url === "/download") {
    response.writeHead(200, { "content-type": "application/octet-stream", "content-length": DOWNLOAD_BYTES });
    let left = DOWNLOAD_BYTES;
    const more = () => {
      while (left > 0) {
        left -= chunk.length;
        if (!response.write(chunk)) return;
      }
      response.end();
    };
    response.on("drain", more);
    more();
  } else if (request.url === "/v1/messages?beta=true") {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write("event: message_start\ndata: {}\n\n");
    setTimeout(() => response.end("event: message_stop\ndata: {}\n\n"), STREAM_MS);
  } else {
    response.writeHead(200, { "content-type": "application/json" }).end('{"type":"message","content":[]}');
  }
};

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  return typeof address === "object" && address ? address.port : 0;
}
