/** For tests only: vault-proxy with its egress, names that lead to this machine, and an upstream with real TLS. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { connect, type Server, type Socket } from "node:net";
import { systemClock } from "@manyhands/kit";
import { Audience } from "@manyhands/protocol";
import { keyEncryptionKey } from "../crypto/envelope.ts";
import { loadCertificateAuthority } from "../egress/certificate-authority.ts";
import type { ClientTimes } from "../http/client-times.ts";
import { memoryKv } from "../store/memory-kv.ts";
import { addressOf, startVaultProxy, type TestVaultProxy, testSessions, WORKSPACE } from "./start.ts";

/** A started bed. Names that end in `.example.test` lead to 127.0.0.1, `rebind.test` to both worlds. */
export type EgressBed = {
  readonly vault: TestVaultProxy;
  readonly plainPort: number;
  readonly tlsPort: number;
  /** Certificates of the upstream's own world, which hands trust for what is not intercepted. */
  readonly upstreamCa: string;
  /** What the upstream saw, and how it answers. */
  readonly seen: { url: string; headers: IncomingMessage["headers"]; body: string }[];
  answer: (request: IncomingMessage, response: ServerResponse, body: string) => void;
  /** What other names lead to, asked anew each time. */
  readonly names: Map<string, () => string[]>;
  /** Sets the network policy of a session. */
  policy(session: string, networking: unknown): void;
  bind(session: string, vaultIds?: string[]): Promise<void>;
  token(session: string, audience?: Audience): Promise<string>;
  /** A tunnel through the hands' listener: the proxy's answer and the socket behind it. */
  open(token: string, target: string): Promise<{ status: number; text: string; socket: Socket }>;
  stop(): Promise<void>;
};

/** Starts it. */
export async function startEgressBed(times?: ClientTimes): Promise<EgressBed> {
  const authority = await loadCertificateAuthority(memoryKv(), keyEncryptionKey(Buffer.alloc(32, 7)), systemClock);
  const certificate = await authority.certify({ host: "api.example.test", port: 443, address: false });
  const seen: EgressBed["seen"] = [];
  const onRequest = (request: IncomingMessage, response: ServerResponse) => {
    let body = "";
    request.setEncoding("utf8").on("data", (chunk: string) => {
      body += chunk;
    });
    request.on("end", () => {
      seen.push({ url: request.url ?? "", headers: request.headers, body });
      bed.answer(request, response, body);
    });
  };
  const plain = createServer(onRequest);
  const tls = createTlsServer(certificate, onRequest);
  const plainPort = await listen(plain);
  const tlsPort = await listen(tls);
  const policies = new Map<string, unknown>();
  const names: EgressBed["names"] = new Map();
  const vault = await startVaultProxy({
    privateRanges: ["127.0.0.1/32"],
    overrides: {
      egress: {
        upstreamCa: [authority.pem],
        resolve: async (host) => {
          const named = names.get(host);
          if (named) return named();
          if (host.endsWith(".example.test")) return ["127.0.0.1"];
          if (host === "rebind.test") return ["93.184.216.34", "10.0.0.1"];
          if (host === "inside.test") return ["169.254.169.254"];
          throw new Error("no such host");
        },
      },
      sessions: testSessions((session) => policies.get(session)),
      ...(times ? { times } : {}),
    },
  });
  const bed: EgressBed = {
    vault,
    plainPort,
    tlsPort,
    upstreamCa: authority.pem,
    seen,
    names,
    answer: (_, response) => void response.writeHead(200, { "content-type": "text/plain" }).end("hello"),
    policy: (session, networking) => void policies.set(session, networking),
    bind: async (sessionId, vaultIds = []) => {
      await vault.client.bindSession({ workspaceId: WORKSPACE, sessionId, vaultIds });
    },
    token: async (sessionId, audience = Audience.EGRESS) =>
      (await vault.client.mintSessionToken({ sessionId, audiences: [audience] })).token,
    open: (token, target) => openTunnel(addressOf(vault.proxy, "git"), token, target),
    async stop() {
      await vault.stop();
      for (const server of [plain, tls]) {
        server.closeAllConnections();
        server.close();
      }
    },
  };
  return bed;
}

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  return typeof address === "object" && address ? address.port : 0;
}

function openTunnel(address: string, token: string, target: string) {
  const port = Number(address.slice(address.lastIndexOf(":") + 1));
  return new Promise<{ status: number; text: string; socket: Socket }>((resolve, reject) => {
    const socket = connect(port, "127.0.0.1");
    let text = "";
    const onData = (chunk: Buffer) => {
      text += chunk.toString("latin1");
      const end = text.indexOf("\r\n\r\n");
      if (end < 0) return;
      const status = Number(text.split(" ")[1]);
      if (status === 200) socket.off("data", onData).pause();
      else if (text.length < end + 4 + Number(/content-length: (\d+)/.exec(text)?.[1] ?? 0)) return;
      resolve({ status, text, socket });
    };
    socket.on("data", onData);
    socket.on("error", () => undefined);
    socket.once("close", () => reject(new Error(`the proxy closed the connection: ${text}`)));
    socket.write(`MANYHANDS/1 ${token}\r\nCONNECT ${target} HTTP/1.1\r\nhost: ${target}\r\n\r\n`);
  });
}
