/**
 * web_search over a provider that the operator runs or chose: `MH_SEARCH_URL` answers `GET …?q=<query>&format=json` with
 * `{results: [{title, url, content}]}`, which is the interface of SearXNG. The harness holds no key for it.
 */
import { type Json, listOf, objectOf, stringOf } from "@manyhands/core";
import { AppError } from "@manyhands/kit";
import { refusedUrl } from "./domain-rules.ts";
import { failed, type ServerTool } from "./server-tools.ts";

const maxResults = 10;
const maxExcerpt = 600;
const maxAnswerBytes = 2 * 1024 * 1024;
const timeoutMs = 20_000;

/** The tool; without a provider it says so. */
export function createWebSearch(searchUrl: URL | undefined): ServerTool {
  return async ({ input, options, signal }) => {
    const query = stringOf(input.query).trim();
    if (query === "") return failed("web_search: query must be a text.");
    if (searchUrl === undefined) {
      return failed("web_search is not available: this platform has no search provider configured (MH_SEARCH_URL).");
    }
    const url = new URL(searchUrl);
    url.searchParams.set("q", query);
    url.searchParams.set("format", "json");
    const found = resultsOf(await ask(url, AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)])));
    const allowed = found.filter((one) => refusedUrl(one.url, options) === undefined).slice(0, maxResults);
    if (allowed.length === 0) return { text: `No results for: ${query}`, isError: false };
    const lines = allowed.map(({ title, url: at, excerpt }, index) => `${index + 1}. ${title}\n${at.href}\n${excerpt}`);
    return { text: lines.join("\n\n"), isError: false };
  };
}

async function ask(url: URL, signal: AbortSignal): Promise<Json> {
  const response = await fetch(url, { headers: { accept: "application/json" }, signal, redirect: "error" });
  const text = await response.text();
  if (!response.ok || text.length > maxAnswerBytes) {
    throw AppError.unavailable("SEARCH_FAILED", `the search provider answered ${response.status}`);
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    throw AppError.unavailable("SEARCH_FAILED", "the search provider did not answer with JSON", error);
  }
}

function resultsOf(answer: Json): { title: string; url: URL; excerpt: string }[] {
  return listOf(objectOf(answer).results).flatMap((one) => {
    const { title, url, content } = objectOf(one);
    const address = stringOf(url);
    if (!URL.canParse(address)) return [];
    return [
      { title: stringOf(title) || address, url: new URL(address), excerpt: stringOf(content).slice(0, maxExcerpt) },
    ];
  });
}
