import { randomBytes } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { connect } from "node:net";
import { Audience } from "@manyhands/protocol";
import { eventually } from "@manyhands/testkit";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { rawExchange, statusOf } from "../testing/raw-http.ts";
import { addressOf, startVaultProxy, type TestVaultProxy, WORKSPACE } from "../testing/start.ts";

const TOKEN = `canary-${randomBytes(16).toString("hex")}`;
const ADVERTISEMENT = "application/x-git-upload-pack-advertisement";

describe("attacks on the git proxy", () => {
  type Answer = (request: IncomingMessage, response: ServerResponse) => void;
  const good: Answer = (_, response) => response.writeHead(200, { "content-type": ADVERTISEMENT }).end("refs");
  let answer: Answer = good;
  let seen: { url: string; headers: IncomingMessage["headers"] }[] = [];
  const upstream = createServer((request, response) => {
    seen.push({ url: request.url ?? "", headers: request.headers });
    request.resume();
    answer(request, response);
  });
  let vault: TestVaultProxy;
  let host: string;
  let token: string;

  const mint = async (sessionId: string, audience: Audience = Audience.GIT) => {
    return (await vault.client.mintSessionToken({ sessionId, audiences: [audience] })).token;
  };
  const send = (request: string, first = `MANYHANDS/1 ${token}\r\n`) =>
    rawExchange(addressOf(vault.proxy, "git"), first + request, /\r\n\r\n/);
  const get = (path: string, headers = "") => `GET ${path} HTTP/1.1\r\nhost: x\r\n${headers}connection: close\r\n\r\n`;
  const refs = () => `/http/${host}/o/r/info/refs?service=git-upload-pack`;

  beforeAll(async () => {
    await new Promise<void>((resolve) => upstream.listen(0, "127.0.0.1", resolve));
    const address = upstream.address();
    host = `127.0.0.1:${typeof address === "object" && address ? address.port : 0}`;
    vault = await startVaultProxy();
    const repositories = [{ url: `http://${host}/o/r`, authorizationToken: TOKEN, allowPush: false }];
    await vault.client.bindSession({ workspaceId: WORKSPACE, sessionId: "sesn_a", repositories });
    await vault.client.bindSession({ workspaceId: WORKSPACE, sessionId: "sesn_b" });
    token = await mint("sesn_a");
  });
  afterAll(async () => {
    await vault?.stop();
    upstream.closeAllConnections();
    upstream.close();
  });
  afterEach(() => {
    answer = good;
    seen = [];
  });

  it("control: the plain request gets through, with the token added", async () => {
    expect(statusOf(await send(get(refs())))).toBe(200);
    expect(seen[0]?.headers.authorization).toBe(`Basic ${Buffer.from(`x-access-token:${TOKEN}`).toString("base64")}`);
    expect(statusOf(await send(get(refs().replace("/o/r/", "/o/r.git/"))))).toBe(200);
  });

  it("control: the first line may come byte by byte, and HTTP with it or later", async () => {
    const colon = addressOf(vault.proxy, "git").lastIndexOf(":");
    const socket = connect(Number(addressOf(vault.proxy, "git").slice(colon + 1)), "127.0.0.1");
    let text = "";
    socket.on("data", (chunk) => {
      text += chunk.toString();
    });
    const bytes = `MANYHANDS/1 ${token}\r\n${get(refs())}`;
    for (const part of bytes.match(/[\s\S]{1,25}/g) ?? []) {
      await new Promise((resolve) => socket.write(part, resolve));
      await new Promise(setImmediate);
    }
    await eventually(() => text.startsWith("HTTP/1.1 200"));
    socket.destroy();
  });

  it.each([
    ["no first line", ""],
    ["another protocol", "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n"],
    ["no token", "MANYHANDS/1 \r\n"],
    ["two tokens", "MANYHANDS/1 a b\r\n"],
    ["another version", "MANYHANDS/2 abc\r\n"],
    ["a bare line feed", "MANYHANDS/1 abc\n"],
    ["a line of 9000 bytes", `MANYHANDS/1 ${"a".repeat(9000)}\r\n`],
    ["a line without end", "M".repeat(20_000)],
    ["bytes that are no text", `MANYHANDS/1 ${"\0".repeat(5)}\r\n`],
  ])("refuses a connection with %s", async (_, first) => {
    expect(statusOf(await send(get(refs()), first))).toBe(400);
    expect(seen).toEqual([]);
  });

  it("refuses tokens that are rubbish, altered, of another audience, another session or revoked", async () => {
    await vault.client.bindSession({ workspaceId: WORKSPACE, sessionId: "sesn_gone" });
    const revoked = await mint("sesn_gone");
    await vault.client.revokeSession({ sessionId: "sesn_gone" });
    const flipped = `${token.slice(0, -2)}${token.at(-2) === "A" ? "B" : "A"}${token.at(-1)}`;
    const bad = ["rubbish", flipped, await mint("sesn_a", Audience.MODEL), await mint("sesn_b"), revoked];
    for (const one of bad) {
      const answered = await send(get(refs()), `MANYHANDS/1 ${one}\r\n`);
      expect(statusOf(answered)).toBe(403);
      expect(answered.text).toContain("manyhands: ");
    }
    expect(seen).toEqual([]);
  });

  it("ends a kept connection's rights with its session", async () => {
    await vault.client.bindSession({
      workspaceId: WORKSPACE,
      sessionId: "sesn_kept",
      repositories: [{ url: `http://${host}/o/r`, authorizationToken: TOKEN }],
    });
    const kept = await mint("sesn_kept");
    const colon = addressOf(vault.proxy, "git").lastIndexOf(":");
    const socket = connect(Number(addressOf(vault.proxy, "git").slice(colon + 1)), "127.0.0.1");
    let text = "";
    socket.on("data", (chunk) => {
      text += chunk.toString();
    });
    const request = `GET ${refs()} HTTP/1.1\r\nhost: x\r\n\r\n`;
    socket.write(`MANYHANDS/1 ${kept}\r\n${request}`);
    await eventually(() => text.includes("HTTP/1.1 200"));
    await vault.client.revokeSession({ sessionId: "sesn_kept" });
    socket.write(request);
    await eventually(() => text.includes("HTTP/1.1 403"));
    socket.destroy();
    expect(seen).toHaveLength(1);
  });

  it.each([
    ["another path", (h: string) => `/http/${h}/o/other/info/refs?service=git-upload-pack`],
    ["a path above", (h: string) => `/http/${h}/o/r/../other/info/refs?service=git-upload-pack`],
    ["an encoded path above", (h: string) => `/http/${h}/o/r/%2e%2e/other/info/refs?service=git-upload-pack`],
    ["an encoded slash", (h: string) => `/http/${h}/o%2fr/info/refs?service=git-upload-pack`],
    ["a doubled slash", (h: string) => `/http/${h}//o/r/info/refs?service=git-upload-pack`],
    ["another scheme", (h: string) => `/https/${h}/o/r/info/refs?service=git-upload-pack`],
    ["another port", () => "/http/127.0.0.1:1/o/r/info/refs?service=git-upload-pack"],
    ["a user in the host", (h: string) => `/http/u@${h}/o/r/info/refs?service=git-upload-pack`],
    ["a metadata address", () => "/http/169.254.169.254/o/r/info/refs?service=git-upload-pack"],
    ["a longer name", (h: string) => `/http/${h}/o/rr/info/refs?service=git-upload-pack`],
    ["a second .git", (h: string) => `/http/${h}/o/r.git.git/info/refs?service=git-upload-pack`],
    ["another service", (h: string) => `/http/${h}/o/r/info/refs?service=git-upload-archive`],
    ["two services", (h: string) => `/http/${h}/o/r/info/refs?service=git-upload-pack&service=git-receive-pack`],
    ["a push", (h: string) => `/http/${h}/o/r/info/refs?service=git-receive-pack`],
    ["the dumb protocol", (h: string) => `/http/${h}/o/r/HEAD`],
    ["a plain proxy request", (h: string) => `http://${h}/o/r/info/refs?service=git-upload-pack`],
  ])("refuses %s before anything leaves", async (_, path) => {
    expect(statusOf(await send(get(path(host))))).toBe(403);
    expect(seen).toEqual([]);
  });

  it("refuses a push's second request too, and content of another type", async () => {
    const post = (service: string, type: string) =>
      `POST /http/${host}/o/r/${service} HTTP/1.1\r\nhost: x\r\ncontent-type: ${type}\r\ncontent-length: 4\r\n\r\n0000`;
    expect(statusOf(await send(post("git-receive-pack", "application/x-git-receive-pack-request")))).toBe(403);
    expect(statusOf(await send(post("git-upload-pack", "text/plain")))).toBe(415);
    expect(seen).toEqual([]);
  });

  it.each([
    ["both lengths", "content-length: 4\r\ntransfer-encoding: chunked\r\n"],
    ["two lengths", "content-length: 0\r\ncontent-length: 4\r\n"],
    ["a folded header", "x-a: b\r\n c\r\n"],
    ["20 KB of headers", `x-a: ${"b".repeat(20_000)}\r\n`],
  ])("refuses smuggling with %s", async (_, headers) => {
    expect(statusOf(await send(get(refs(), headers)))).toBeGreaterThanOrEqual(400);
    expect(seen).toEqual([]);
  });

  it("sends on only what git needs: no credential or header of the hand's own", async () => {
    const headers =
      "Authorization: Basic aGFuZDpoYW5k\r\nCookie: a=b\r\nX-Forwarded-For: 1.1.1.1\r\nX-Evil: 1\r\nGit-Protocol: version=2\r\n";
    expect(statusOf(await send(get(refs(), headers)))).toBe(200);
    const sent = seen[0]?.headers ?? {};
    expect(Object.keys(sent).toSorted()).toEqual(["authorization", "connection", "git-protocol", "host"]);
    expect(sent.authorization).toContain(Buffer.from(`x-access-token:${TOKEN}`).toString("base64"));
    expect(sent.host).toBe(host);
  });

  it.each([301, 302, 307, 308])("does not follow a %i, nor show where it leads", async (status) => {
    answer = (_, response) => response.writeHead(status, { location: `http://${host}/stolen?${TOKEN}` }).end();
    const answered = await send(get(refs()));
    expect(statusOf(answered)).toBe(502);
    expect(answered.text).toContain("redirect");
    expect(answered.text).not.toContain(TOKEN);
    expect(seen).toHaveLength(1);
  });

  it.each([400, 401, 403, 404, 500, 503])("shows nothing of what a host says with a %i", async (status) => {
    answer = (request, response) => {
      const echo = String(request.headers.authorization);
      response
        .writeHead(status, { "x-echo": echo, "www-authenticate": `Basic realm="${echo}"` })
        .end(`${echo} ${TOKEN}`);
    };
    const answered = await send(get(refs()));
    expect(statusOf(answered)).toBe(status === 401 ? 403 : status);
    expect(answered.text).not.toContain(TOKEN);
    expect(answered.text).not.toContain(Buffer.from(`x-access-token:${TOKEN}`).toString("base64").slice(8, 40));
  });

  it("shows nothing of a page that is not git's, and drops foreign headers of one that is", async () => {
    answer = (_, response) => response.writeHead(200, { "content-type": "text/html" }).end(`login ${TOKEN}`);
    const page = await send(get(refs()));
    expect(statusOf(page)).toBe(502);
    expect(page.text).not.toContain(TOKEN);
    answer = (_, response) => {
      response.writeHead(200, {
        "content-type": ADVERTISEMENT,
        "set-cookie": "a=b",
        "x-echo": TOKEN,
        "cache-control": TOKEN,
      });
      response.end("refs");
    };
    const git = await send(get(refs()));
    expect(statusOf(git)).toBe(200);
    expect(git.text).not.toMatch(/set-cookie|x-echo/i);
    expect(git.text).not.toContain(TOKEN);
  });

  it("keeps no connection to a host that a hand has given up on", async () => {
    let closed = false;
    answer = (_, response) => {
      response.once("close", () => {
        closed = true;
      });
    };
    const colon = addressOf(vault.proxy, "git").lastIndexOf(":");
    const socket = connect(Number(addressOf(vault.proxy, "git").slice(colon + 1)), "127.0.0.1");
    socket.write(`MANYHANDS/1 ${token}\r\n${get(refs())}`);
    await eventually(() => seen.length === 1);
    socket.destroy();
    await eventually(() => closed);
  });

  it("after all of this shows the token in no log line and no fact", () => {
    const encoded = Buffer.from(`x-access-token:${TOKEN}`).toString("base64");
    for (const place of [...vault.logs, JSON.stringify(vault.audit), JSON.stringify(vault.events)]) {
      expect(place).not.toContain(TOKEN);
      expect(place).not.toContain(encoded);
    }
    expect(vault.audit.length).toBeGreaterThan(20);
  });
});
