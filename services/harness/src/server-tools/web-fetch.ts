/** web_fetch: a page's text, fetched through the egress proxy under the agent's and the environment's domain rules. */
import { boundText, stringOf } from "@manyhands/core";
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
}

const maxRedirects = 5;
const maxBytes = 4 * 1024 * 1024;
const timeoutMs = 30_000;
const bytesPerToken = 4;

/** The tool. */
export function createWebFetch({ proxyUrl, token }: WebFetchOptions): ServerTool {
  return async (use) => {
    const given = stringOf(use.input.url);
    if (!URL.canParse(given)) return failed("web_fetch: url must be an absolute http or https URL.");
    if (proxyUrl === undefined) {
      return failed("web_fetch is not available: this platform has no egress proxy configured (MH_EGRESS_PROXY_URL).");
    }
    const signal = AbortSignal.any([use.signal, AbortSignal.timeout(timeoutMs)]);
    let url = new URL(given);
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
