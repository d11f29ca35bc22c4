/** What the credentials are for: a git server, an HTTPS API that echoes, two MCP servers that tell tales, a model. */
import { randomBytes } from "node:crypto";
import { createServer as createTlsServer } from "node:https";
import type { Server } from "node:net";
import { gzipSync } from "node:zlib";
import { systemClock } from "@manyhands/kit";
import { type GitServer, startGitServer } from "@manyhands/testkit";
import { keyEncryptionKey } from "../../services/vault-proxy/src/crypto/envelope.ts";
import { loadCertificateAuthority } from "../../services/vault-proxy/src/egress/certificate-authority.ts";
import { memoryKv } from "../../services/vault-proxy/src/store/memory-kv.ts";
import { startMcpServer, type TestMcpServer } from "../../services/vault-proxy/src/testing/mcp-server.ts";
import { startOauthServer, type TestOauthServer } from "../../services/vault-proxy/src/testing/oauth-server.ts";
import type { Canary } from "./canaries.ts";

/** The address the API is reached at: loopback, but not the one that hands keep for themselves. */
const API_HOST = "127.0.0.2";

/** Running upstreams. */
export type Upstreams = {
  readonly git: GitServer;
  /** `https://127.0.0.2:<port>`, and who signed for it, in PEM. */
  readonly api: string;
  readonly apiCa: string;
  /** Values of the key that the API was shown. */
  readonly shown: Set<string>;
  readonly bearer: TestMcpServer;
  readonly oauthMcp: TestMcpServer;
  readonly oauth: TestOauthServer;
  stop(): Promise<void>;
};

/** Starts them all; `derived` are the tokens that the API makes from its key. */
export async function startUpstreams(
  git: Canary,
  bearer: Canary,
  derived: { readonly access: Canary; readonly refresh: Canary },
): Promise<Upstreams> {
  const authority = await loadCertificateAuthority(memoryKv(), keyEncryptionKey(randomBytes(32)), systemClock);
  const certificate = await authority.certify({ host: API_HOST, port: 443, address: true });
  const shown = new Set<string>();
  const api = createTlsServer(certificate, (request, response) => {
    let body = "";
    request.setEncoding("utf8").on("data", (chunk: string) => {
      body += chunk;
    });
    request.on("end", () => {
      const key = String(request.headers.authorization ?? "").replace(/^Bearer /, "");
      shown.add(key).add(body.replace(/^key=/, ""));
      if (request.url?.startsWith("/token")) {
        const form = new URLSearchParams(body);
        shown.add(form.get("client_secret") ?? "");
        const tokens = { access_token: derived.access.value, refresh_token: derived.refresh.value };
        if (request.url.endsWith("?form")) {
          return response
            .writeHead(200, { "content-type": "application/x-www-form-urlencoded" })
            .end(new URLSearchParams(tokens).toString());
        }
        const text = JSON.stringify({ ...tokens, token_type: "Bearer", expires_in: 3600 });
        response.writeHead(200, { "content-type": "application/json" }).write(text.slice(0, 40));
        return setImmediate(() => response.end(text.slice(40)));
      }
      const echo = `you are ${key} and ${JSON.stringify(request.headers)} and ${body}`;
      switch (request.url?.split("?")[1]) {
        case "base64":
          return response.end(["", "x", "xy"].map((pad) => Buffer.from(pad + key).toString("base64")).join("\n"));
        case "hex":
          return response.end(Buffer.from(key).toString("hex"));
        case "gzip":
          return response.writeHead(200, { "content-encoding": "gzip" }).end(gzipSync(echo));
        case "error":
          return response.writeHead(500, { "set-cookie": `session=${key}` }).end(echo);
        case "redirect":
          return response.writeHead(302, { location: `/next?key=${key}` }).end(echo);
        case "header":
          return response.writeHead(401, { "www-authenticate": `Bearer realm="${key}"` }).end();
        default: {
          // Split where it hurts.
          response.write(echo.slice(0, 15));
          setImmediate(() => response.end(echo.slice(15)));
        }
      }
    });
  });
  const apiPort = await listen(api, API_HOST);
  const gitServer = await startGitServer({ repositories: { app: { "README.md": "app\n" } }, token: git.value });
  const oauth = await startOauthServer({ leeway: true });
  const tools = talkativeTools;
  const bearerServer = await startMcpServer({ accepts: (token) => token === bearer.value, tools });
  const oauthMcp = await startMcpServer({ accepts: (token) => oauth.accepts(token), tools });
  return {
    git: gitServer,
    api: `https://${API_HOST}:${apiPort}`,
    apiCa: authority.pem,
    shown,
    bearer: bearerServer,
    oauthMcp,
    oauth,
    async stop() {
      api.closeAllConnections();
      await Promise.all([new Promise((resolve) => api.close(resolve)), gitServer.stop(), oauth.close()]);
      await Promise.all([bearerServer.close(), oauthMcp.close()]);
    },
  };
}

type ToolServer = Parameters<NonNullable<NonNullable<Parameters<typeof startMcpServer>[0]>["tools"]>>[0];

/** Tools that repeat the credential they were called with. */
function talkativeTools(server: ToolServer): void {
  const tokenOf = (headers: Record<string, unknown> | undefined) => String(headers?.authorization ?? "");
  server.registerTool("whoami", { description: "Says who you are." }, ({ requestInfo }) => {
    const token = tokenOf(requestInfo?.headers);
    const coded = Buffer.from(token).toString("base64");
    return { content: [{ type: "text", text: `you are ${token}, or ${coded}` }] };
  });
  server.registerTool("fail", { description: "Fails and says with what." }, ({ requestInfo }) => {
    throw new Error(`not allowed for ${tokenOf(requestInfo?.headers)}`);
  });
}

async function listen(server: Server, host: string): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  const address = server.address();
  return typeof address === "object" && address ? address.port : 0;
}
