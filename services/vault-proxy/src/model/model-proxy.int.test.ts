import { randomBytes } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import Anthropic from "@anthropic-ai/sdk";
import { createDemoModel, type DemoModel } from "@manyhands/demo-model";
import { Audience } from "@manyhands/protocol";
import { eventually } from "@manyhands/testkit";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { rawExchange, statusOf } from "../testing/raw-http.ts";
import { addressOf, startVaultProxy, type TestVaultProxy, WORKSPACE } from "../testing/start.ts";

const KEY = `canary-key-${randomBytes(16).toString("hex")}`;
const MODEL = "claude-opus-4-6";
const HELLO = { model: MODEL, max_tokens: 100, messages: [{ role: "user" as const, content: "hello" }] };

const mint = async (vault: TestVaultProxy, audience: Audience = Audience.MODEL, sessionId = "sesn_model") => {
  const { token } = await vault.client.mintSessionToken({ sessionId, audiences: [audience] });
  return token;
};
const sdk = (vault: TestVaultProxy, token: string) =>
  new Anthropic({
    baseURL: `http://${addressOf(vault.proxy, "model")}`,
    apiKey: token,
    maxRetries: 0,
    timeout: 15_000,
  });

describe("official client → model proxy → demo model", () => {
  let model: DemoModel;
  let vault: TestVaultProxy;

  beforeAll(async () => {
    model = await createDemoModel({ requiredKey: KEY });
    vault = await startVaultProxy({ upstreamUrl: model.url, apiKey: KEY });
  });
  afterAll(async () => {
    await vault?.stop();
    await model?.close();
  });

  it("puts the key in place of the session token and passes the body untouched", async () => {
    const token = await mint(vault);
    model.clearRequests();
    const answer = await sdk(vault, token).messages.create(HELLO);
    expect(answer.role).toBe("assistant");
    const [entry] = model.requests;
    expect(entry?.headers["x-api-key"]).toBe(KEY);
    expect(entry?.headers.authorization).toBeUndefined();
    expect(JSON.parse(Buffer.from(entry?.body ?? "").toString())).toEqual(HELLO);
    expect(entry?.headers["anthropic-version"]).toBeDefined();
    expect(JSON.stringify(entry?.headers)).not.toContain(token);
  });

  it("streams, counts tokens and lists models", async () => {
    const client = sdk(vault, await mint(vault));
    const types: string[] = [];
    const stream = client.messages.stream(HELLO);
    for await (const event of stream) {
      types.push(event.type);
    }
    expect(types[0]).toBe("message_start");
    expect(types.at(-1)).toBe("message_stop");
    expect(
      (await client.messages.countTokens({ model: MODEL, messages: HELLO.messages })).input_tokens,
    ).toBeGreaterThan(0);
    expect((await client.models.list()).data.length).toBeGreaterThan(0);
  });

  it("passes the upstream's own errors through", async () => {
    const client = sdk(vault, await mint(vault));
    const failure = await client.messages.create({ ...HELLO, max_tokens: -1 }).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(Anthropic.BadRequestError);
  });

  it("records each use without any value, and never in a session's log", async () => {
    await sdk(vault, await mint(vault)).messages.create(HELLO);
    const used = await eventually(() => vault.audit.find(({ path }) => path === "/v1/messages"));
    expect(used).toMatchObject({ session: "sesn_model", workspace: WORKSPACE, credentialId: "platform", status: 200 });
    expect(vault.events).toEqual([]);
    expect(JSON.stringify(vault.audit)).not.toContain(KEY);
    expect(vault.logs.join("")).not.toContain(KEY);
  });
});

describe("who may use the model proxy", () => {
  let model: DemoModel;
  let vault: TestVaultProxy;
  beforeAll(async () => {
    model = await createDemoModel();
    vault = await startVaultProxy({ upstreamUrl: model.url, apiKey: KEY });
  });
  afterAll(async () => {
    await vault?.stop();
    await model?.close();
  });
  afterEach(() => model.clearRequests());

  const refused = async (token: string) => {
    const failure = await sdk(vault, token)
      .messages.create(HELLO)
      .catch((error: unknown) => error);
    expect(model.requests).toEqual([]);
    return failure;
  };

  it("refuses no token, rubbish, and the key itself, in the shape of the public API", async () => {
    for (const token of ["x", "a.b.c", KEY, `${"e".repeat(5000)}`]) {
      const failure = await refused(token);
      expect(failure).toBeInstanceOf(Anthropic.AuthenticationError);
    }
    const answer = await rawExchange(addressOf(vault.proxy, "model"), "GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n");
    expect(statusOf(answer)).toBe(401);
    expect(answer.text).toContain('"type":"authentication_error"');
  });

  it("refuses a token with any bit flipped in each of its parts", async () => {
    const token = await mint(vault);
    for (const position of [3, token.indexOf(".") + 5, token.lastIndexOf(".") + 5]) {
      const flipped = token[position] === "A" ? "B" : "A";
      expect(await refused(token.slice(0, position) + flipped + token.slice(position + 1))).toBeInstanceOf(
        Anthropic.AuthenticationError,
      );
    }
  });

  it("refuses a token of another audience and one of a revoked session", async () => {
    await vault.client.bindSession({ workspaceId: WORKSPACE, sessionId: "sesn_other" });
    expect(await refused(await mint(vault, Audience.GIT, "sesn_other"))).toBeInstanceOf(
      Anthropic.PermissionDeniedError,
    );
    const token = await mint(vault, Audience.MODEL, "sesn_other");
    await sdk(vault, token).messages.create(HELLO);
    model.clearRequests();
    await vault.client.revokeSession({ sessionId: "sesn_other" });
    expect(await refused(token)).toBeInstanceOf(Anthropic.PermissionDeniedError);
  });

  it.each([
    ["GET", "/v1/messages"],
    ["POST", "/v1/models"],
    ["DELETE", "/v1/models/x"],
    ["GET", "/v1/models/../organizations"],
    ["GET", "/v1/models/%2e%2e"],
    ["POST", "/v1/messages/batches"],
    ["POST", "/v1//messages"],
    ["POST", "/v1/messages?x=%0d%0a y"],
    ["GET", "http://evil.example/v1/models"],
    ["OPTIONS", "*"],
  ])("serves nothing else: %s %s", async (method, target) => {
    const token = await mint(vault);
    const head = `${method} ${target} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${token}\r\ncontent-length: 0\r\n\r\n`;
    expect([400, 404]).toContain(statusOf(await rawExchange(addressOf(vault.proxy, "model"), head)));
    expect(model.requests).toEqual([]);
  });

  it.each([
    ["both lengths", "content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"],
    ["two lengths", "content-length: 4\r\ncontent-length: 5\r\n\r\nabcd"],
    ["folded header", "x-a: b\r\n c: d\r\n\r\n"],
    ["space before colon", "content-length : 4\r\n\r\nabcd"],
    ["bare line feed", "x-a: b\nx-c: d\r\n\r\n"],
  ])("refuses smuggling: %s", async (_, rest) => {
    const token = await mint(vault);
    const head = `POST /v1/messages HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${token}\r\n${rest}`;
    const answer = await rawExchange(addressOf(vault.proxy, "model"), head);
    expect(statusOf(answer)).toBeGreaterThanOrEqual(400);
    expect(model.requests).toEqual([]);
  });

  it("never sends a client's credential, cookie or connection-listed header on", async () => {
    const token = await mint(vault);
    const body = JSON.stringify(HELLO);
    const head = [
      "POST /v1/messages HTTP/1.1",
      "host: x",
      `AUTHORIZATION: Bearer ${token}`,
      "X-Api-Key: mine",
      "Cookie: a=b",
      "Proxy-Authorization: Basic abcd",
      "X-Forwarded-For: 10.0.0.1",
      "Connection: close, X-Hop",
      "X-Hop: secret",
      "X-Kept: yes",
      "content-type: application/json",
      "anthropic-version: 2023-06-01",
      `content-length: ${Buffer.byteLength(body)}`,
      "",
      body,
    ].join("\r\n");
    expect(statusOf(await rawExchange(addressOf(vault.proxy, "model"), head))).toBe(200);
    const sent = model.requests[0]?.headers ?? {};
    expect(sent["x-api-key"]).toBe(KEY);
    expect(sent["x-kept"]).toBe("yes");
    for (const name of ["authorization", "cookie", "proxy-authorization", "x-forwarded-for", "x-hop"]) {
      expect(sent[name]).toBeUndefined();
    }
  });
});

describe("streams and failures", () => {
  type Answer = (request: IncomingMessage, response: ServerResponse) => void;
  let answer: Answer;
  let upstreamUrl: string;
  const upstream = createServer((request, response) => answer(request, response));
  let vault: TestVaultProxy;
  beforeAll(async () => {
    await new Promise<void>((resolve) => upstream.listen(0, "127.0.0.1", resolve));
    const address = upstream.address();
    upstreamUrl = `http://127.0.0.1:${typeof address === "object" && address ? address.port : 0}/base`;
    vault = await startVaultProxy({ upstreamUrl, apiKey: KEY });
  });
  afterAll(async () => {
    await vault?.stop();
    upstream.closeAllConnections();
    upstream.close();
  });
  const post = async (body: string | Uint8Array<ArrayBuffer>, signal?: AbortSignal) =>
    fetch(`http://${addressOf(vault.proxy, "model")}/v1/messages?beta=true`, {
      method: "POST",
      headers: { authorization: `Bearer ${await mint(vault)}`, "content-type": "application/json" },
      body,
      redirect: "manual",
      ...(signal ? { signal } : {}),
    });

  it("sends head and each chunk on before the upstream goes on", async () => {
    const next: (() => void)[] = [];
    answer = (request, response) => {
      expect(request.url).toBe("/base/v1/messages?beta=true");
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.flushHeaders();
      next.push(
        () => response.write("event: one\n\n"),
        () => response.write("event: two\n\n"),
        () => response.end("event: three\n\n"),
      );
    };
    // Each step of the upstream waits for what the client has seen: a proxy that holds anything back never ends.
    const response = await post("{}");
    const reader = response.body?.getReader();
    for (const wanted of ["event: one\n\n", "event: two\n\n", "event: three\n\n"]) {
      next.shift()?.();
      const { value } = (await reader?.read()) ?? {};
      expect(Buffer.from(value ?? new Uint8Array()).toString()).toBe(wanted);
    }
    expect((await reader?.read())?.done).toBe(true);
  });

  it("sends the request's first bytes on before its end", async () => {
    let first: (text: string) => void = () => undefined;
    const firstSeen = new Promise<string>((resolve) => {
      first = resolve;
    });
    answer = (request, response) => {
      request.once("data", (chunk: Buffer) => first(chunk.toString()));
      request.once("end", () => response.end("{}"));
    };
    const token = await mint(vault);
    const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
      async start(controller) {
        controller.enqueue(Buffer.from('{"a":'));
        expect(await firstSeen).toBe('{"a":');
        controller.enqueue(Buffer.from("1}"));
        controller.close();
      },
    });
    const init = { method: "POST", headers: { "x-api-key": token }, body, duplex: "half" as const };
    const response = await fetch(`http://${addressOf(vault.proxy, "model")}/v1/messages`, init);
    expect(response.status).toBe(200);
  });

  it("ends the upstream's work when the client goes away", async () => {
    let ended: () => void = () => undefined;
    const upstreamEnded = new Promise<void>((resolve) => {
      ended = resolve;
    });
    answer = (request, response) => {
      request.resume();
      response.once("close", ended);
      response.writeHead(200).write("data");
    };
    const controller = new AbortController();
    const response = await post("{}", controller.signal);
    await response.body?.getReader().read();
    controller.abort();
    await upstreamEnded;
    await eventually(() => vault.audit.some(({ outcome }) => outcome === "aborted"));
  });

  it("ends a running stream when its session is revoked", async () => {
    answer = (request, response) => {
      request.resume();
      response.writeHead(200).write("data");
    };
    const token = await mint(vault, Audience.MODEL, "sesn_streaming");
    const response = await fetch(`http://${addressOf(vault.proxy, "model")}/v1/models`, {
      headers: { "x-api-key": token },
    });
    const reader = response.body?.getReader();
    await reader?.read();
    await vault.client.revokeSession({ sessionId: "sesn_streaming" });
    await expect(reader?.read()).rejects.toThrow();
  });

  it("breaks the client's stream when the upstream breaks, instead of ending it well", async () => {
    answer = (request, response) => {
      request.resume();
      response.writeHead(200);
      response.write("data", () => response.destroy());
    };
    const response = await post("{}");
    await expect(response.text()).rejects.toThrow();
  });

  it("does not follow or show a redirect", async () => {
    answer = (request, response) => {
      request.resume();
      response.writeHead(307, { location: "http://127.0.0.1:1/steal" }).end();
    };
    const response = await post("{}");
    expect(response.status).toBe(503);
    expect(response.headers.get("location")).toBeNull();
    expect(await response.json()).toMatchObject({ type: "error", error: { type: "overloaded_error" } });
  });

  it("drops an echoed key from headers, and cookies", async () => {
    answer = (request, response) => {
      request.resume();
      response
        .writeHead(200, { "x-echo": `key ${String(request.headers["x-api-key"])}`, "set-cookie": "a=b" })
        .end("{}");
    };
    const response = await post("{}");
    expect([...response.headers.keys()]).not.toContain("x-echo");
    expect([...response.headers.keys()]).not.toContain("set-cookie");
  });

  it("refuses a body beyond 32 MiB, announced or not, and goes on", async () => {
    answer = (request, response) => {
      request.resume();
      request.once("end", () => response.end("{}"));
      request.on("error", () => undefined);
    };
    const announced = await post(new Uint8Array(33 * 1024 * 1024)).catch((error: unknown) => error);
    expect(announced instanceof Response ? announced.status : 400).toBe(400);
    const chunk = Buffer.alloc(1024 * 1024);
    let sent = 0;
    const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
      pull(controller) {
        sent += 1;
        if (sent > 40) controller.close();
        else controller.enqueue(chunk);
      },
    });
    const init = { method: "POST", headers: { "x-api-key": await mint(vault) }, body, duplex: "half" as const };
    const chunked = await fetch(`http://${addressOf(vault.proxy, "model")}/v1/messages`, init).catch(() => undefined);
    expect(chunked?.status ?? 400).toBe(400);
    expect((await post("{}")).status).toBe(200);
  });

  it("lets one session run 64 requests at once and no more, while others go on", async () => {
    const running: ServerResponse[] = [];
    answer = (request, response) => {
      request.resume();
      running.push(response);
    };
    const url = `http://${addressOf(vault.proxy, "model")}/v1/models`;
    const headers = { "x-api-key": await mint(vault, Audience.MODEL, "sesn_greedy") };
    const many = Array.from({ length: 64 }, () => fetch(url, { headers }));
    await eventually(() => running.length === 64);
    const refused = await fetch(url, { headers });
    expect([refused.status, refused.headers.get("retry-after")]).toEqual([429, "1"]);
    const other = fetch(url, { headers: { "x-api-key": await mint(vault, Audience.MODEL, "sesn_modest") } });
    await eventually(() => running.length === 65);
    for (const response of running) {
      response.end("{}");
    }
    expect((await Promise.all([...many, other])).every(({ ok }) => ok)).toBe(true);
    answer = (_, response) => response.end("{}");
    expect((await fetch(url, { headers })).status).toBe(200);
  });

  it("says that the upstream cannot be reached without saying more", async () => {
    const lonely = await startVaultProxy({ upstreamUrl: "http://127.0.0.1:1", apiKey: KEY });
    const failure = await sdk(lonely, await mint(lonely))
      .messages.create(HELLO)
      .catch((error: unknown) => error);
    await lonely.stop();
    expect(String(failure)).toMatch(/cannot be reached \(ECONNREFUSED\)/);
    expect(String(failure)).not.toContain(KEY);
  });
});
