/** web_fetch: a page's text, fetched through the egress proxy under the agent's and the environment's domain rules. */
import { create } from "@bufbuild/protobuf";
import { boundText, stringOf, urlSearch, urlSourceTypes } from "@manyhands/core";
import type { RpcClient } from "@manyhands/kit";
import { decodeEvent, GetEventsRequestSchema, type SessionService } from "@manyhands/protocol";
import { refusedUrl } from "./domain-rules.ts";
import { isText, pageText } from "./page-text.ts";
import { type Fetched, proxyFetch } from "./proxy-fetch.ts";
import { failed, type ServerTool, type ToolAnswer, type ToolUse } from "./server-tools.ts";

/** How pages are reached. */
export interface WebFetchOptions {
  /** The egress proxy; undefined when none is configured. */
  readonly proxyUrl: URL | undefined;
  /** A token that names the session to it. */
  readonly token: (sessionId: string) => Promise<string>;
  /** Where it is looked up that a URL was not made up, for agents that want that (`url_sources`). */
  readonly sessions: Pick<RpcClient<typeof SessionService>, "getEvents">;
}

const maxRedirects = 5;
const maxBytes = 4 * 1024 * 1024;
const timeoutMs = 30_000;
const bytesPerToken = 4;
const pageSize = 500;
/** Pages looked at: 50 000 events. */
const maxPages = 100;

/** The tool. */
export function createWebFetch({ proxyUrl, token, sessions }: WebFetchOptions): ServerTool {
  return async (use) => {
    const given = stringOf(use.input.url);
    if (!URL.canParse(given)) return failed("web_fetch: url must be an absolute http or https URL.");
    if (proxyUrl === undefined) {
      return failed("web_fetch is not available: this platform has no egress proxy configured (MH_EGRESS_PROXY_URL).");
    }
    const signal = AbortSignal.any([use.signal, AbortSignal.timeout(timeoutMs)]);
    let url = new URL(given);
    if (!(await isFromSource(sessions, url, { ...use, signal }))) {
      return failed(`web_fetch: ${url.href} does not stand where this agent may take addresses from (url_sources).`);
    }
    for (let hop = 0; hop <= maxRedirects; hop += 1) {
      const problem = problemOf(url, use);
      if (problem !== undefined) return failed(`web_fetch: ${problem}.`);
      const options = { proxyUrl, token: await token(use.sessionId), maxBytes, signal };
      const fetched = await proxyFetch(url, options);
      const next = redirectOf(url, fetched);
      if (next === undefined) return answerOf(url, fetched, use);
      url = next;
    }
    return failed(`web_fetch: the address was redirected more than ${maxRedirects} times.`);
  };
}

/** Whether the URL was said where the agent's rules want it to have been; true without rules. */
async function isFromSource(
  sessions: WebFetchOptions["sessions"],
  url: URL,
  { sessionId, options, signal }: ToolUse,
): Promise<boolean> {
  const search = urlSearch(url, options);
  if (search === undefined) return true;
  const types = [...urlSourceTypes];
  const request = create(GetEventsRequestSchema, { sessionId, types, pageSize, includeBlobs: true });
  for (let page = 0; page < maxPages; page += 1) {
    const answer = await sessions.getEvents(request, { signal });
    if (answer.events.map(decodeEvent).some(search)) return true;
    if (answer.nextPageToken === "") return false;
    request.pageToken = answer.nextPageToken;
  }
  return false;
}

function problemOf(url: URL, { options }: ToolUse): string | undefined {
  if (url.protocol !== "http:" && url.protocol !== "https:") return `${url.protocol} addresses cannot be fetched`;
  if (url.username !== "" || url.password !== "") return "an address with a user or password in it cannot be fetched";
  return refusedUrl(url, options);
}

function redirectOf(url: URL, { status, headers }: Fetched): URL | undefined {
  const { location } = headers;
  const isRedirect = [301, 302, 303, 307, 308].includes(status) && location !== undefined;
  return isRedirect && URL.canParse(location, url.href) ? new URL(location, url) : undefined;
}

function answerOf(url: URL, { status, headers, body, isCut }: Fetched, { options, outputBytes }: ToolUse): ToolAnswer {
  const contentType = headers["content-type"] ?? "text/plain";
  if (!isText(contentType)) return failed(`web_fetch: ${url.href} is ${contentType}, which is not text.`);
  const asked = options.max_content_tokens;
  const limit = typeof asked === "number" ? Math.min(outputBytes, asked * bytesPerToken) : outputBytes;
  const cut = isCut ? `\n[… the page is longer than ${maxBytes} bytes …]` : "";
  const text = boundText(pageText(body.toString("utf8"), contentType), limit);
  return { text: `${url.href} (${status})\n\n${text}${cut}`, isError: status >= 400 };
}
