import { createServer, type Server } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { create } from "@bufbuild/protobuf";
import type { JsonObject } from "@manyhands/core";
import { encodeEvent, GetEventsResponseSchema } from "@manyhands/protocol";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { created, said, stored } from "../../../../packages/core/src/testing/test-log.ts";
import { refusedUrl } from "./domain-rules.ts";
import { pageText } from "./page-text.ts";
import type { ToolUse } from "./server-tools.ts";
import { createWebFetch } from "./web-fetch.ts";
import { createWebSearch } from "./web-search.ts";

/** A forward proxy that lets `allowed.test` through to a local page, and writes down the tokens it was shown. */
let proxy: Server;
let site: Server;
const tokens: (string | undefined)[] = [];

const portOf = (server: Server) => (server.address() as AddressInfo).port;
const listening = (server: Server) => new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));

beforeAll(async () => {
  site = createServer((request, response) => {
    if (request.url === "/moved") response.writeHead(302, { location: "http://blocked.test/" }).end();
    else if (request.url === "/picture") response.writeHead(200, { "content-type": "image/png" }).end("x");
    else if (request.url === "/search?q=hands&format=json") {
      const results = [
        { title: "Hands", url: "https://allowed.test/hands", content: "All about hands." },
        { title: "Other", url: "https://other.test/", content: "Else." },
      ];
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify({ results }));
    } else {
      const page =
        "<html><head><title>A &amp; B</title></head><body><h1>Hi</h1><script>no()</script><p>Text</p></body></html>";
      response.writeHead(200, { "content-type": "text/html" }).end(page);
    }
  });
  proxy = createServer((request, response) => {
    tokens.push(request.headers["proxy-authorization"]);
    const url = new URL(request.url ?? "");
    if (url.hostname !== "allowed.test") {
      response.writeHead(403).end("refused");
      return;
    }
    const inner = connect(portOf(site), "127.0.0.1");
    inner.end(`GET ${url.pathname} HTTP/1.0\r\nhost: x\r\n\r\n`);
    inner.pipe(response.socket ?? inner);
  });
  proxy.on("connect", (_request, socket) => socket.end("HTTP/1.1 403 Forbidden\r\n\r\n"));
  await Promise.all([listening(site), listening(proxy)]);
});
afterAll(() => {
  proxy?.closeAllConnections();
  proxy?.close();
  site?.close();
});

const use = (input: JsonObject, options: JsonObject = {}): ToolUse => ({
  sessionId: "sesn_1",
  input,
  options,
  outputBytes: 10_000,
  signal: new AbortController().signal,
});
const log = stored([created(), said("Look at http://allowed.test/ for me.")]);
const sessions = {
  getEvents: async () => create(GetEventsResponseSchema, { events: log.map(encodeEvent) }),
};
const fetcher = () =>
  createWebFetch({
    proxyUrl: new URL(`http://127.0.0.1:${portOf(proxy)}`),
    token: async (id) => `token-of-${id}`,
    sessions,
  });

describe("web_fetch", () => {
  it("answers with the text of a page, through the proxy, under the session's token", async () => {
    const answer = await fetcher()(use({ url: "http://allowed.test/" }));
    expect(answer).toEqual({ text: "http://allowed.test/ (200)\n\nA & B\n\n# Hi\nText", isError: false });
    expect(tokens.at(-1)).toBe("Bearer token-of-sesn_1");
  });

  it("follows the rules of the agent at every hop", async () => {
    const blocked = { blocked_domains: ["blocked.test"] };
    const moved = await fetcher()(use({ url: "http://allowed.test/moved" }, blocked));
    expect(moved).toEqual({ text: "web_fetch: blocked.test is blocked for this agent.", isError: true });
    const elsewhere = await fetcher()(use({ url: "http://allowed.test/" }, { allowed_domains: ["other.test"] }));
    expect(elsewhere.text).toContain("not among the domains this agent may reach");
  });

  it("takes an address only from where the agent may, where that is asked for", async () => {
    const rules = { url_sources: { server_tool_results: { type: "none" } } };
    expect((await fetcher()(use({ url: "http://allowed.test/" }, rules))).isError).toBe(false);
    const made = await fetcher()(use({ url: "http://allowed.test/made-up" }, rules));
    expect(made.text).toBe(
      "web_fetch: http://allowed.test/made-up does not stand where this agent may take addresses from (url_sources).",
    );
  });

  it("says what the proxy refused, what is no text and what is no address", async () => {
    await expect(fetcher()(use({ url: "https://refused.test/" }))).rejects.toThrow(
      "the egress proxy refused refused.test:443",
    );
    expect((await fetcher()(use({ url: "http://allowed.test/picture" }))).text).toContain(
      "image/png, which is not text",
    );
    expect((await fetcher()(use({ url: "file:///etc/passwd" }))).text).toContain("cannot be fetched");
    expect((await fetcher()(use({}))).text).toContain("url must be");
    const none = createWebFetch({ proxyUrl: undefined, token: async () => "", sessions });
    expect((await none(use({ url: "http://allowed.test/" }))).text).toContain("no egress proxy configured");
  });
});

describe("web_search", () => {
  it("asks the configured provider and keeps to the agent's domains", async () => {
    const search = createWebSearch(new URL(`http://127.0.0.1:${portOf(site)}/search`));
    const answer = await search(use({ query: "hands" }, { blocked_domains: ["other.test"] }));
    expect(answer.text).toBe("1. Hands\nhttps://allowed.test/hands\nAll about hands.");
    expect((await createWebSearch(undefined)(use({ query: "hands" }))).text).toContain("no search provider configured");
    expect((await search(use({}))).isError).toBe(true);
  });
});

describe("domain rules", () => {
  it.each([
    ["https://example.com/", ["example.com"], true],
    ["https://docs.example.com/", ["example.com"], true],
    ["https://badexample.com/", ["example.com"], false],
    ["https://example.com/docs/a", ["example.com/docs"], true],
    ["https://example.com/docsx", ["example.com/docs"], false],
    ["https://EXAMPLE.com./", ["example.com"], true],
  ])("%s under %j: %s", (url, allowed_domains, may) => {
    expect(refusedUrl(new URL(url), { allowed_domains }) === undefined).toBe(may);
  });
});

it("keeps titles, lists and link targets of a page, and nothing that is no text", () => {
  const html = `<style>p{}</style><ul><li>one</li><li>two</li></ul><a href="https://a.test/x">here</a>&nbsp;&#65;<!-- no -->`;
  expect(pageText(html, "text/html")).toBe("- one\n- two\nhere (https://a.test/x) A");
});
