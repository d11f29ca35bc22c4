/**
 * Finds the tokens in an API's answer while it passes, and puts placeholders there.
 *
 * T1 nothing is held back but what may be the beginning of a field that holds one. T2 a token leaves only when it was
 * kept; when that fails, so does the answer.
 */
import { Transform } from "node:stream";
import { DERIVED_LIMITS } from "../store/derived-token-store.ts";
import { FORM, type Grammar, JSON_LIKELY, JSON_TOKENS, looksLikeToken, XML } from "./token-grammar.ts";

/** What becomes of tokens. Asked when one is found: until then it may not be known what the request carried. */
export type Capture = {
  /** False for an answer to a request that carried no credential: its tokens are the hand's own. */
  wanted(): boolean;
  /** Keeps a token and answers what stands for it. */
  keep(token: string): Promise<string>;
};

/** The longest field, with room for escapes. */
const MAX_FIELD = 2 * DERIVED_LIMITS.tokenChars;
const JSON_TEXT = [JSON_TOKENS, JSON_LIKELY];
/** Headers in which APIs hand out tokens. */
const TOKEN_HEADERS = new Set(["authorization", "x-access-token", "x-auth-token", "x-subject-token"]);

/** Streams that find the tokens in an answer of this content type; none for what is no text. */
export function tokenStreams(contentType: string, capture: Capture): Transform[] {
  const grammars = grammarsOf(contentType.split(";")[0]?.trim().toLowerCase() ?? "");
  return grammars.length > 0 ? [finder(grammars, capture)] : [];
}

function grammarsOf(media: string): readonly Grammar[] {
  switch (media) {
    case "application/x-www-form-urlencoded":
      return [FORM];
    case "":
    case "text/plain":
    case "text/html":
      return [...JSON_TEXT, FORM, XML];
    default:
      if (/[/+]xml$/.test(media)) return [XML];
      return media.startsWith("text/") || /[/+](?:x-)?(?:nd)?json(?:-seq|l)?$|javascript$/.test(media) ? JSON_TEXT : [];
  }
}

/** T2 of a token that no header could carry back. */
class TokenTooLong extends Error {
  override readonly name = "TokenTooLong";
  constructor() {
    super(`the answer holds a token of more than ${DERIVED_LIMITS.tokenChars} characters`);
  }
}

/** The same for a URL, whose query or fragment may carry tokens. */
export async function captureInUrl(url: string, capture: Capture): Promise<string> {
  const { done, rest } = await replaceWhole([FORM], `${url}${FORM.edge}`, capture);
  return `${done}${rest}`.slice(0, -FORM.edge.length);
}

/** The same for a header, which holds one by its name, with or without a scheme before it. */
export async function captureInHeader(name: string, value: string, capture: Capture): Promise<string> {
  const [, scheme = "", token = ""] = /^((?:bearer|token) +)?(.+)$/i.exec(value) ?? [];
  if (!TOKEN_HEADERS.has(name) || !looksLikeToken(token) || !capture.wanted()) return value;
  return `${scheme}${await capture.keep(token)}`;
}

function finder(grammars: readonly Grammar[], capture: Capture): Transform {
  const edge = grammars.map((grammar) => grammar.edge).join("");
  let held = edge;
  let unsent = edge.length;
  /** The text without what was put before it. */
  const own = (text: string) => {
    const from = Math.min(unsent, text.length);
    unsent -= from;
    return Buffer.from(text.slice(from), "latin1");
  };
  const take = async (text: string, last: boolean): Promise<Buffer> => {
    const { done, rest } = await replaceWhole(grammars, text, capture);
    const begun = last ? rest.length : Math.min(...grammars.map((grammar) => beginsAt(grammar, rest, capture)));
    held = rest.slice(begun);
    return own(done + rest.slice(0, begun));
  };
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      take(held + chunk.toString("latin1"), false).then((out) => done(null, out), done);
    },
    flush(done) {
      take(held + edge, true).then((out) => done(null, out.subarray(0, out.length - edge.length)), done);
    },
  });
}

/** Where a field may be beginning; the text's end when nowhere. What is longer than any field is none. */
function beginsAt({ begun, sure }: Grammar, text: string, capture: Capture): number {
  const index = text.search(begun);
  if (index < 0) return text.length;
  if (text.length - index <= MAX_FIELD) return index;
  if (sure && capture.wanted()) throw new TokenTooLong();
  return text.length;
}

async function replaceWhole(
  grammars: readonly Grammar[],
  text: string,
  capture: Capture,
): Promise<{ done: string; rest: string }> {
  const found = grammars.flatMap((grammar) => [...text.matchAll(grammar.whole)].map((match) => ({ grammar, match })));
  if (grammars.length > 1) found.sort((a, b) => a.match.index - b.match.index);
  let done = "";
  let at = 0;
  for (const { grammar, match } of found) {
    const [from = 0, to = 0] = match.indices?.groups?.token ?? [];
    if (from < at || !capture.wanted()) continue;
    const token = grammar.read(match.groups?.token ?? "", match.groups?.slashes?.length ?? 0);
    const fits = token.length <= DERIVED_LIMITS.tokenChars;
    if (grammar.sure && !fits) throw new TokenTooLong();
    if (!grammar.sure && !(fits && looksLikeToken(token))) continue;
    done += text.slice(at, from) + (await capture.keep(token));
    at = to;
  }
  return { done, rest: text.slice(at) };
}
