/**
 * Finds the tokens in an API's answer while it passes, and puts placeholders there: the fields `access_token`,
 * `refresh_token` and `id_token` (RFC 6749, OpenID Connect) of JSON at any depth, and of form-encoded text.
 *
 * T1 nothing is held back but what may be the beginning of such a field. T2 a token leaves only when it was kept; when
 * that fails, so does the answer.
 */
import { Transform } from "node:stream";
import { DERIVED_LIMITS } from "../store/derived-token-store.ts";

/** What becomes of tokens. Asked when one is found: until then it may not be known what the request carried. */
export type Capture = {
  /** False for an answer to a request that carried no credential: its tokens are the hand's own. */
  wanted(): boolean;
  /** Keeps a token and answers what stands for it. */
  keep(token: string): Promise<string>;
};

/** How tokens are written in one kind of text. Texts here are bytes as latin1. */
type Grammar = {
  /** Finds one whole field; group 1 is the token as it is written. */
  readonly whole: RegExp;
  /** Finds what may be the beginning of one, up to the end. */
  readonly begun: RegExp;
  /** What may stand before the first field and behind the last one. */
  readonly before: string;
  readonly behind: string;
  readonly read: (written: string) => string;
};

const NAMES = ["access_token", "refresh_token", "id_token"];
/** The longest field, with room for escapes. */
const MAX_FIELD = 2 * DERIVED_LIMITS.tokenChars;

const JSON_TEXT: Grammar = {
  whole: new RegExp(String.raw`"(?:${NAMES.join("|")})"\s*:\s*"((?:[^"\\]|\\[^])+)"`, "dg"),
  begun: new RegExp(`"${begunName('"', String.raw`\s*(?::\s*(?:"(?:[^"\\]|\\[^])*\\?)?)?`)}$`),
  before: "",
  behind: "",
  read: (written) => {
    try {
      return String(JSON.parse(`"${Buffer.from(written, "latin1").toString("utf8")}"`));
    } catch {
      return written;
    }
  },
};
const FORM: Grammar = {
  whole: new RegExp(String.raw`[?&#](?:${NAMES.join("|")})=([^&#\s"'<>]+)(?=[&#\s"'<>])`, "dg"),
  begun: new RegExp(`[?&#]${begunName("=", String.raw`[^&#\s"'<>]*`)}$`),
  before: "&",
  behind: "&",
  read: (written) => {
    try {
      return decodeURIComponent(written.replaceAll("+", " "));
    } catch {
      return written;
    }
  },
};

/** Streams that find the tokens in an answer of this content type; none for what is no text. */
export function tokenStreams(contentType: string, capture: Capture): Transform[] {
  const media = contentType.split(";")[0]?.trim().toLowerCase() ?? "";
  if (media === "application/x-www-form-urlencoded") return [finder(FORM, capture)];
  if (media === "" || media === "text/plain" || media === "text/html") {
    return [finder(JSON_TEXT, capture), finder(FORM, capture)];
  }
  return media.startsWith("text/") || /[/+](?:x-)?(?:nd)?json(?:-seq|l)?$|javascript$/.test(media)
    ? [finder(JSON_TEXT, capture)]
    : [];
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
  const out = await replaceWhole(FORM, `${url}${FORM.behind}`, capture);
  return `${out.done}${out.rest}`.slice(0, -FORM.behind.length);
}

function finder(grammar: Grammar, capture: Capture): Transform {
  let held = grammar.before;
  let unsent = grammar.before.length;
  /** The text without what was put before it. */
  const own = (text: string) => {
    const from = Math.min(unsent, text.length);
    unsent -= from;
    return Buffer.from(text.slice(from), "latin1");
  };
  const take = async (text: string, last: boolean): Promise<Buffer> => {
    const { done, rest } = await replaceWhole(grammar, text, capture);
    const begun = last ? -1 : rest.search(grammar.begun);
    held = begun < 0 ? "" : rest.slice(begun);
    if (held.length > MAX_FIELD) {
      if (capture.wanted()) throw new TokenTooLong();
      held = "";
      return own(done + rest);
    }
    return own(done + (begun < 0 ? rest : rest.slice(0, begun)));
  };
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      take(held + chunk.toString("latin1"), false).then((out) => done(null, out), done);
    },
    flush(done) {
      take(held + grammar.behind, true).then(
        (out) => done(null, out.subarray(0, out.length - grammar.behind.length)),
        done,
      );
    },
  });
}

async function replaceWhole(grammar: Grammar, text: string, capture: Capture): Promise<{ done: string; rest: string }> {
  let done = "";
  let at = 0;
  for (const match of text.matchAll(grammar.whole)) {
    if (!capture.wanted()) continue;
    const [from = 0, to = 0] = match.indices?.[1] ?? [];
    const token = grammar.read(match[1] ?? "");
    if (token.length > DERIVED_LIMITS.tokenChars) throw new TokenTooLong();
    done += text.slice(at, from) + (await capture.keep(token));
    at = to;
  }
  return { done, rest: text.slice(at) };
}

/** A pattern for every beginning of one of the names, `end` behind it, and `more` behind that. */
function begunName(end: string, more: string): string {
  const begun = (word: string) => [...word].reduceRight((inner, letter) => `(?:${letter}${inner})?`, more);
  return `(?:${NAMES.map((name) => begun(name + end)).join("|")})`;
}
