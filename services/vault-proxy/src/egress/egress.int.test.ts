import { createHmac } from "node:crypto";
import { connect as connectTls } from "node:tls";
import { Audience } from "@manyhands/protocol";
import { eventually } from "@manyhands/testkit";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { type EgressBed, startEgressBed } from "../testing/egress-bed.ts";
import { rawExchange, statusOf } from "../testing/raw-http.ts";
import { addressOf, WORKSPACE } from "../testing/start.ts";
import { parseSignedUrl, signatureOf } from "./sigv4.ts";

const SECRET = "canary-Zm9v/bar+0123456789";
const OPEN = { type: "unrestricted" };

describe("egress", () => {
  let bed: EgressBed;
  let token: string;

  beforeAll(async () => {
    bed = await startEgressBed();
    bed.policy("sesn_open", OPEN);
    await bed.bind("sesn_open");
    token = await bed.token("sesn_open");
  });
  afterAll(() => bed?.stop());
  afterEach(() => {
    bed.seen.length = 0;
    bed.answer = (_, response) => void response.writeHead(200, { "content-type": "text/plain" }).end("hello");
  });

  const raw = (bytes: string, by = token) =>
    rawExchange(addressOf(bed.vault.proxy, "git"), `MANYHANDS/1 ${by}\r\n${bytes}`);
  const get = (url: string, headers = `host: ${new URL(url).host}\r\n`, by = token) =>
    raw(`GET ${url} HTTP/1.1\r\n${headers}connection: close\r\n\r\n`, by);
  const plain = (host = "api.example.test") => `http://${host}:${bed.plainPort}`;

  /** One HTTPS request in a tunnel; `ca` is what the client trusts. */
  const https = async (options: { by?: string; host?: string; ca: string; request: string }): Promise<string> => {
    const host = options.host ?? "api.example.test";
    const { status, text, socket } = await bed.open(options.by ?? token, `${host}:${bed.tlsPort}`);
    expect(status, text).toBe(200);
    const secure = connectTls({ socket, servername: host, ca: [options.ca] });
    return new Promise((resolve, reject) => {
      let answer = "";
      secure.on("secureConnect", () => secure.write(options.request));
      secure.on("data", (chunk: Buffer) => {
        answer += chunk.toString();
      });
      secure.on("error", reject);
      secure.on("close", () => resolve(answer));
    });
  };

  it("carries plain requests with everything but the connection's own headers", async () => {
    const url = `${plain()}/a?b=c`;
    const extra = "proxy-authorization: Bearer x\r\nx-mine: 1\r\ncookie: a=b\r\nconnection: x-hop\r\nx-hop: 1\r\n";
    const answer = await get(url, `host: api.example.test:${bed.plainPort}\r\n${extra}`);
    expect(statusOf(answer)).toBe(200);
    expect(answer.text).toContain("hello");
    expect(bed.seen[0]?.url).toBe("/a?b=c");
    expect(bed.seen[0]?.headers).toMatchObject({ "x-mine": "1", cookie: "a=b" });
    expect(Object.keys(bed.seen[0]?.headers ?? {})).not.toEqual(expect.arrayContaining(["proxy-authorization"]));
    expect(bed.seen[0]?.headers["x-hop"]).toBeUndefined();
  });

  it("carries TLS unopened: the client checks the server's own certificate", async () => {
    const request = "GET /tls HTTP/1.1\r\nhost: api.example.test\r\nconnection: close\r\n\r\n";
    expect(await https({ ca: bed.upstreamCa, request })).toContain("hello");
    await eventually(() => bed.vault.audit.some(({ method, outcome }) => method === "CONNECT" && outcome === "served"));
    const tunnel = bed.vault.audit.findLast(({ method }) => method === "CONNECT");
    expect(tunnel).toMatchObject({ proxy: "egress", session: "sesn_open", host: `api.example.test:${bed.tlsPort}` });
    expect(tunnel?.responseBytes).toBeGreaterThan(500);
  });

  it("is an ordinary proxy for who holds a token itself", async () => {
    const request = `GET ${plain()}/x HTTP/1.1\r\nhost: api.example.test:${bed.plainPort}\r\nconnection: close\r\n`;
    const door = addressOf(bed.vault.proxy, "egress");
    expect(statusOf(await rawExchange(door, `${request}proxy-authorization: Bearer ${token}\r\n\r\n`))).toBe(200);
    expect(statusOf(await rawExchange(door, `${request}\r\n`))).toBe(407);
    expect(statusOf(await rawExchange(door, `${request}proxy-authorization: Bearer nonsense\r\n\r\n`))).toBe(407);
  });

  describe("refuses", () => {
    it.each([
      ["a session without network", "sesn_none", undefined],
      ["an empty list", "sesn_empty", { type: "limited", allowed_hosts: [] }],
      ["a host that is not in the list", "sesn_other", { type: "limited", allowed_hosts: ["other.example.test"] }],
      ["a port that is not in the list", "sesn_port", { type: "limited", allowed_hosts: ["api.example.test"] }],
    ])("%s", async (_, session, networking) => {
      bed.policy(session, networking);
      await bed.bind(session);
      const by = await bed.token(session);
      expect(statusOf(await get(`${plain()}/`, undefined, by))).toBe(403);
      expect((await bed.open(by, `api.example.test:${bed.tlsPort}`)).status).toBe(403);
      expect(bed.seen).toEqual([]);
      expect(bed.vault.audit.findLast((one) => one.session === session)).toMatchObject({ outcome: "refused" });
    });

    it.each([
      ["the metadata address", "169.254.169.254:80"],
      ["a private address", "10.0.0.1:443"],
      ["a mapped address", "[::ffff:10.0.0.1]:443"],
      ["loopback in IPv6", "[::1]:443"],
      ["a name that leads inside", "inside.test:443"],
      ["a name with public and private answers", "rebind.test:443"],
    ])("%s, with every policy", async (_, target) => {
      expect((await bed.open(token, target)).status).toBe(403);
    });

    it("what is no host, and what does not resolve", async () => {
      expect((await bed.open(token, "127.1:80")).status).toBe(400);
      expect((await bed.open(token, "0x7f000001:80")).status).toBe(400);
      expect((await bed.open(token, "nowhere.test:443")).status).toBe(502);
    });

    it.each([
      ["no token", () => "", 400],
      ["a git token", () => bed.token("sesn_open", Audience.GIT), 403],
      ["a token of nobody", () => "e30.e30.e30", 407],
      ["an altered token", async () => `${token.slice(0, -2)}xx`, 407],
    ])("%s", async (_, by, status) => {
      expect(statusOf(await get(`${plain()}/`, undefined, await by()))).toBe(status);
      expect(bed.seen).toEqual([]);
    });

    it.each([
      ["another Host than the URL's", "host: other.example.test\r\n", 421],
      ["no Host", "", 400],
      ["two Hosts", "host: api.example.test\r\nhost: other.example.test\r\n", 421],
      ["two lengths", "host: api.example.test\r\ncontent-length: 1\r\ncontent-length: 2\r\n", 400],
      ["length and chunks", "host: api.example.test\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n", 400],
      ["a folded header", "host: api.example.test\r\nx-a: 1\r\n  2\r\n", 400],
      ["headers without end", `host: api.example.test\r\nx-a: ${"a".repeat(20_000)}\r\n`, 431],
    ])("%s", async (_, headers, status) => {
      expect(statusOf(await get(`${plain()}/`, headers))).toBe(status);
      expect(bed.seen).toEqual([]);
    });

    it("a tunnel whose TLS names another host, or none", async () => {
      for (const servername of ["other.example.test", ""]) {
        const { socket } = await bed.open(token, `api.example.test:${bed.tlsPort}`);
        const secure = connectTls({ socket, servername, ca: [bed.upstreamCa], checkServerIdentity: () => undefined });
        await new Promise<void>((resolve, reject) => {
          secure.on("secureConnect", () => reject(new Error("the handshake went through")));
          secure.on("error", () => resolve());
          secure.on("close", () => resolve());
        });
      }
    });

    it("everything of a revoked session at once, open tunnels too", async () => {
      bed.policy("sesn_end", OPEN);
      await bed.bind("sesn_end");
      const by = await bed.token("sesn_end");
      const { socket } = await bed.open(by, `api.example.test:${bed.plainPort}`);
      socket.resume();
      const closed = new Promise((resolve) => socket.once("close", resolve));
      await bed.vault.client.revokeSession({ sessionId: "sesn_end" });
      await closed;
      expect(statusOf(await get(`${plain()}/`, undefined, by))).toBe(403);
    });
  });

  describe("credentials", () => {
    let by: string;
    let placeholder: string;
    let authority: string;

    beforeAll(async () => {
      const { vault } = await bed.vault.client.createVault({ workspaceId: WORKSPACE, displayName: "keys" });
      const vaultId = vault?.id ?? "";
      await bed.vault.client.createCredential({
        workspaceId: WORKSPACE,
        vaultId,
        displayName: "api",
        authJson: Buffer.from(
          JSON.stringify({
            type: "environment_variable",
            secret_name: "API_KEY",
            secret_value: SECRET,
            networking: { type: "limited", allowed_hosts: ["api.example.test"] },
            injection_location: { header: true, body: true },
          }),
        ),
      });
      bed.policy("sesn_keys", OPEN);
      await bed.bind("sesn_keys", [vaultId]);
      by = await bed.token("sesn_keys");
      const described = await bed.vault.client.describeEgress({ sessionId: "sesn_keys" });
      placeholder = described.variables[0]?.placeholder ?? "";
      authority = described.authorityPem;
      expect(described.variables[0]?.name).toBe("API_KEY");
    });

    const ask = (headers: string, body = "") =>
      https({
        by,
        ca: authority,
        request: `POST /keys HTTP/1.1\r\nhost: api.example.test\r\n${headers}content-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`,
      });

    it("go in where their placeholder stands, and never come back", async () => {
      bed.answer = (request, response, body) => {
        response.writeHead(200, { "x-echo": String(request.headers.authorization) });
        response.write(body.slice(0, 20));
        response.end(`${body.slice(20)} ${Buffer.from(SECRET).toString("base64")}`);
      };
      const answer = await ask(`authorization: Bearer ${placeholder}\r\n`, `{"key":"${placeholder}"}`);
      expect(bed.seen[0]?.headers.authorization).toBe(`Bearer ${SECRET}`);
      expect(bed.seen[0]?.body).toBe(`{"key":"${SECRET}"}`);
      expect(answer).toContain(`x-echo: Bearer ${placeholder}`);
      expect(answer).not.toContain(SECRET);
      expect(answer).not.toContain(Buffer.from(SECRET).toString("base64").slice(0, 20));
      await eventually(() => bed.vault.events.length > 0);
      expect(bed.vault.events.at(-1)).toMatchObject({
        proxy: "egress",
        session: "sesn_keys",
        path: "/keys",
        status: 200,
      });
      expect(JSON.stringify([bed.vault.events, bed.vault.audit, bed.vault.logs])).not.toContain(SECRET);
    });

    it("sign what the hand signed with the placeholder", async () => {
      const sign = (key: string) => createHmac("sha256", key).update('{"a":1}').digest("hex");
      await ask(`x-signature: sha256=${sign(placeholder)}\r\n`, '{"a":1}');
      expect(bed.seen[0]?.headers["x-signature"]).toBe(`sha256=${sign(SECRET)}`);
      expect(bed.seen[0]?.body).toBe('{"a":1}');
    });

    it("sign what the hand signed in a URL, which is sent on so", async () => {
      const scope = "AKIA%2F20300101%2Feu%2Fs3%2Faws4_request";
      const url = (signature: string) =>
        `/o?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=${scope}&X-Amz-Date=20300101T000000Z&X-Amz-SignedHeaders=host&X-Amz-Signature=${signature}`;
      const parts = parseSignedUrl(url("0".repeat(64)));
      if (!parts) throw new Error("not a signed URL");
      const headers = { host: "api.example.test", "x-amz-content-sha256": "UNSIGNED-PAYLOAD" };
      const sign = (key: string) =>
        signatureOf(key, parts, { method: "GET", path: url(""), headers, body: Buffer.alloc(0) }, "as sent");
      const request = `GET ${url(sign(placeholder))} HTTP/1.1\r\nhost: api.example.test\r\nconnection: close\r\n\r\n`;
      await https({ by, ca: authority, request });
      expect(bed.seen[0]?.url).toBe(url(sign(SECRET)));
    });

    it("are no use in a URL, to another session, or at another host", async () => {
      await https({
        by,
        ca: authority,
        request: `GET /?k=${placeholder} HTTP/1.1\r\nhost: api.example.test\r\nconnection: close\r\n\r\n`,
      });
      expect(bed.seen[0]?.url).toBe(`/?k=${placeholder}`);
      const request = `GET / HTTP/1.1\r\nhost: api.example.test\r\nx-key: ${placeholder}\r\nconnection: close\r\n\r\n`;
      await https({ ca: bed.upstreamCa, request });
      expect(bed.seen[1]?.headers["x-key"]).toBe(placeholder);
      await get(`${plain()}/`, `host: api.example.test:${bed.plainPort}\r\nx-key: ${placeholder}\r\n`, by);
      expect(bed.seen[2]?.headers["x-key"], "not without TLS").toBe(placeholder);
      expect(JSON.stringify(bed.seen)).not.toContain(SECRET);
    });

    it("do not let the inner request go to another host", async () => {
      const request = `GET / HTTP/1.1\r\nhost: evil.example.test\r\nx-key: ${placeholder}\r\nconnection: close\r\n\r\n`;
      expect(await https({ by, ca: authority, request })).toMatch(/^HTTP\/1.1 421/);
      expect(bed.seen).toEqual([]);
    });

    it("are not kept from the hand by its own clients that trust nobody", async () => {
      const request = "GET / HTTP/1.1\r\nhost: api.example.test\r\nconnection: close\r\n\r\n";
      for (let times = 0; times < 70; times += 1) {
        const { socket } = await bed.open(by, `api.example.test:${bed.tlsPort}`);
        const gone = new Promise((resolve) => socket.once("close", resolve));
        connectTls({ socket, servername: "api.example.test", ca: [bed.upstreamCa] }).on("error", () =>
          socket.destroy(),
        );
        await gone;
      }
      await eventually(async () => (await https({ by, ca: authority, request })).includes("hello"));
    });

    it("stream: the first bytes of an answer come before its end", async () => {
      let finish = () => undefined as unknown;
      bed.answer = (_, response) => {
        response.writeHead(200, { "content-type": "text/event-stream" });
        response.write("data: first\n\n");
        finish = () => response.end("data: last\n\n");
      };
      const { socket } = await bed.open(by, `api.example.test:${bed.tlsPort}`);
      const secure = connectTls({ socket, servername: "api.example.test", ca: [authority] });
      let text = "";
      secure.on("data", (chunk: Buffer) => {
        text += chunk.toString();
      });
      secure.write("GET / HTTP/1.1\r\nhost: api.example.test\r\nconnection: close\r\n\r\n");
      await eventually(() => text.includes("data: first"));
      expect(text).not.toContain("last");
      finish();
      await eventually(() => text.includes("data: last"));
      secure.destroy();
    });
  });
});
