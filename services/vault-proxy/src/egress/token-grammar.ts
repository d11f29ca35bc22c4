/**
 * How tokens are written in the answers of APIs: in JSON at any depth, JSON inside a text of JSON included, in forms and
 * URLs, and in XML. Pure. Texts here are bytes as latin1.
 */

/** How tokens are written in one kind of text. */
export type Grammar = {
  /** Finds one whole field. Its groups: `token` as it is written; `slashes`, where there are any, before each quote. */
  readonly whole: RegExp;
  /** Finds what may be the beginning of one, up to the end. */
  readonly begun: RegExp;
  /** What may stand before the first field and behind the last one. */
  readonly edge: string;
  /** True for fields that hold nothing but tokens; others are known by how their value looks. */
  readonly sure: boolean;
  /** The token itself; `slashes` is how many. */
  readonly read: (written: string, slashes: number) => string;
};

/** Of RFC 6749 and OpenID Connect. */
const OAUTH_NAMES = ["access_token", "refresh_token", "id_token"];
/** Names that are used for other things too. */
const OTHER_NAMES = [
  "token",
  "jwt",
  "api_key",
  "api_secret",
  "api_token",
  "auth_token",
  "bearer_token",
  "client_secret",
  "client_token",
  "private_token",
  "secret_access_key",
  "session_token",
];
const MIN_OTHER = 16;
/** Every character of the tokens that are in use (RFC 6750 2.1 and a few more). */
const PLAIN = String.raw`[\w.~+/=:|-]`;
const LOOKS_LIKE_TOKEN = new RegExp(`^${PLAIN}{${MIN_OTHER},}$`);
/** The escapes before a quote at the fourth depth: deeper nobody looks. */
const SLASHES = String.raw`\\{0,15}`;

/** Parts of the names, in the cases they are written in: where none of them is, there is no field. */
export const NAME_PARTS: readonly Buffer[] = [
  ...["token", "secret", "api_", "api-", "apik", '"jwt', "<jwt", ":jwt"].flatMap((part) => [
    part,
    part.toUpperCase(),
    part.replace(/[a-z]/, (letter) => letter.toUpperCase()),
  ]),
  "apiK",
  "ApiK",
].map((part) => Buffer.from(part));
/** More than the longest beginning of a field that has no such part in it. */
export const MAX_BEGUN = 128;

/** True for a value that can be taken for a token wherever it stands. */
export function looksLikeToken(value: string): boolean {
  return LOOKS_LIKE_TOKEN.test(value);
}

/** JSON whose names say that these are tokens. */
export const JSON_TOKENS = json(OAUTH_NAMES, String.raw`[^"\\]|\\[^]`, true);
/** JSON whose values must look like tokens too. */
export const JSON_LIKELY = json(OTHER_NAMES, String.raw`${PLAIN}|\\{1,15}(?:/|u[0-9a-f]{4})`, false);

/** Forms, and the queries and fragments of URLs. Here other names would be those of links that nobody could follow. */
export const FORM: Grammar = {
  whole: new RegExp(String.raw`[?&#](?:${anyOf(OAUTH_NAMES)})=(?<token>[^&#\s"'<>]+)(?=[&#\s"'<>])`, "dgi"),
  begun: new RegExp(`[?&#]${begunName(OAUTH_NAMES, "=", String.raw`[^&#\s"'<>]*`)}$`, "i"),
  edge: "&",
  sure: true,
  read: (written) => {
    try {
      return decodeURIComponent(written.replaceAll("+", " "));
    } catch {
      return written;
    }
  },
};

const ALL_NAMES = [...OAUTH_NAMES, ...OTHER_NAMES];
/** XML elements, with or without a prefix. */
export const XML: Grammar = {
  whole: new RegExp(String.raw`<(?:[\w.-]{1,32}:)?(?:${anyOf(ALL_NAMES)})>\s*(?<token>${PLAIN}+)\s*</`, "dgi"),
  begun: new RegExp(
    String.raw`<(?:[\w.-]{0,32}$|(?:[\w.-]{1,32}:)?${begunName(ALL_NAMES, ">", String.raw`\s*${PLAIN}*\s*(?:<)?`)})$`,
    "i",
  ),
  edge: "",
  sure: false,
  read: (written) => written,
};

/** `"name": "value"`; inside a text of JSON each quote has its escapes before it, everywhere as many. */
function json(names: readonly string[], value: string, sure: boolean): Grammar {
  const end = String.raw`\k<slashes>"`;
  const colon = String.raw`\s*:\s*`;
  const cut = String.raw`(?:${SLASHES}|\\{1,15}u[0-9a-f]{0,3})$`;
  const unit = `(?!${end})(?:${value})`;
  const opened = `${end}(?:${unit})*${cut}`;
  const named = String.raw`(?:${anyOf(names)})(?:${SLASHES}$|${end}(?:\s*$|${colon}(?:${SLASHES}$|${opened})))`;
  return {
    whole: new RegExp(
      `(?<slashes>${SLASHES})"(?:${anyOf(names)})${end}${colon}${end}(?<token>(?:${unit})+)${end}`,
      "dgi",
    ),
    begun: new RegExp(String.raw`(?<slashes>${SLASHES})"(?:${begunName(names, "", "")}$|${named})|\\{1,15}$`, "i"),
    edge: "",
    sure,
    read: (written, slashes) => {
      let text = written;
      try {
        // One slash is one text around it, three are two, seven are three.
        for (let around = slashes; ; around = (around - 1) / 2) {
          const parsed: unknown = JSON.parse(
            `"${around === slashes ? Buffer.from(text, "latin1").toString("utf8") : text}"`,
          );
          text = String(parsed);
          if (around < 1) return text;
        }
      } catch {
        return text;
      }
    },
  };
}

/** The names in each of their spellings: `access_token`, `access-token`, `accessToken`, `ACCESS_TOKEN`. */
function anyOf(names: readonly string[]): string {
  return names.map((name) => name.replaceAll("_", "[_-]?")).join("|");
}

/** A pattern for every beginning of one of the names, `end` behind it, and `more` behind that. */
function begunName(names: readonly string[], end: string, more: string): string {
  const begun = (word: string) =>
    [...word].reduceRight((inner, letter) => `(?:${letter === "_" ? "[_-]?" : letter}${inner})?`, more);
  return `(?:${names.map((name) => begun(name + end)).join("|")})`;
}
