/**
 * Finds the tokens in an API's answer while it passes, and puts placeholders there.
 *
 * T1 nothing is held back but what may be the beginning of a field that holds one. T2 a token leaves only when it was
 * kept; when that fails, so does the answer.
 */
import { Transform } from "node:stream";
import { DERIVED_LIMITS } from "../store/derived-token-store.ts";
import { ByteSearch } from "./search-bytes.ts";
import {
  FORM,
  type Grammar,
  JSON_LIKELY,
  JSON_TOKENS,
  looksLikeToken,
  MAX_BEGUN,
  NAME_PARTS,
  XML,
} from "./token-grammar.ts";

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
  const edge = Buffer.from(grammars.map((grammar) => grammar.edge).join(""));
  let held: Buffer = edge;
  let unsent = edge.length;
  /** The bytes without what was put before them. */
  const own = (bytes: Buffer) => {
    const from = Math.min(unsent, bytes.length);
    unsent -= from;
    return bytes.subarray(from);
  };
  const begunIn = (text: string) => Math.min(...grammars.map((grammar) => beginsAt(grammar, text, capture)));
  const take = async (bytes: Buffer): Promise<Buffer> => {
    const { done, rest } = await replaceWhole(grammars, bytes.toString("latin1"), capture);
    const begun = begunIn(rest);
    held = Buffer.from(rest.slice(begun), "latin1");
    return own(Buffer.from(done + rest.slice(0, begun), "latin1"));
  };
  /** Of bytes without any field only the beginning of one can be at the end. */
  const pass = (bytes: Buffer): Buffer => {
    const tail = bytes.subarray(-MAX_BEGUN).toString("latin1");
    const end = bytes.length - tail.length + begunIn(tail);
    held = Buffer.from(bytes.subarray(end));
    return own(bytes.subarray(0, end));
  };
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      const bytes = held.length > 0 ? Buffer.concat([held, chunk]) : chunk;
      if (names.next(bytes, 0)) take(bytes).then((out) => done(null, out), done);
      else done(null, pass(bytes));
    },
    flush(done) {
      const text = Buffer.concat([held, edge]).toString("latin1");
      replaceWhole(grammars, text, capture).then((last) => {
        const out = own(Buffer.from(last.done + last.rest, "latin1"));
        done(null, out.subarray(0, out.length - edge.length));
      }, done);
    },
  });
}

const names = new ByteSearch(NAME_PARTS);

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
