/**
 * One canonical form of a repository's URL, made once; every decision and every upstream request uses that form and
 * never the text a client sent.
 *
 * R1 http or https, no userinfo, no query, no fragment. R2 the port is always explicit. R3 path segments are decoded
 * once and refused when they could mean something else to another parser. R4 `x` and `x.git` are the same repository.
 *
 * The host may be any that the operator's client bound, loopback and private ones included: a self-hosted git server
 * is a normal case, and a hand can only reach what was bound to its own session.
 */

/** A repository's place. `path` is canonical, starts with a slash and keeps the `.git` ending as it was written. */
export type RepositoryUrl = {
  readonly scheme: "http" | "https";
  /** Lower case, IPv6 in brackets. */
  readonly hostname: string;
  readonly port: number;
  readonly path: string;
};

/** Either a value or the rule that was broken. */
export type Parsed<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly rule: string };

const MAX_URL = 2048;
const MAX_SEGMENTS = 32;
const PRINTABLE = /^[\x21-\x7e]+$/;
const AUTHORITY = /^(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?$/;
/** What may stand undecoded in a segment (RFC 3986 pchar without percent). */
const SEGMENT = /^(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+$/;

const no = (rule: string): { readonly ok: false; readonly rule: string } => ({ ok: false, rule });

/** Parses the URL that a binding names. */
export function parseRepositoryUrl(text: string): Parsed<RepositoryUrl> {
  const match = /^(https?):\/\/([^/?#]*)(\/[^?#]*)?$/i.exec(text);
  if (text.length > MAX_URL || !PRINTABLE.test(text) || !match) {
    return no(`must be an http or https URL of at most ${MAX_URL} printable characters without query or fragment`);
  }
  const [, scheme = "", authority = "", path = ""] = match;
  return parseParts(scheme.toLowerCase(), authority, path.replace(/\/$/, ""));
}

/** Parses scheme, authority and raw path that were taken apart already. */
export function parseParts(scheme: string, authority: string, rawPath: string): Parsed<RepositoryUrl> {
  if (scheme !== "http" && scheme !== "https") {
    return no("must use http or https");
  }
  if (!AUTHORITY.test(authority) || !URL.canParse(`${scheme}://${authority}/`)) {
    return no("must name a host, with an optional port and without user or password");
  }
  const url = new URL(`${scheme}://${authority}/`);
  const port = url.port === "" ? (scheme === "https" ? 443 : 80) : Number(url.port);
  if (port === 0) {
    return no("must have a port from 1 to 65535");
  }
  const path = canonicalPath(rawPath);
  return path.ok ? { ok: true, value: { scheme, hostname: url.hostname, port, path: path.value } } : path;
}

/** True when both name the same repository. */
export function sameRepository(a: RepositoryUrl, b: RepositoryUrl): boolean {
  return repositoryKey(a) === repositoryKey(b);
}

/** The text two names of one repository share. */
export function repositoryKey(url: RepositoryUrl): string {
  return `${url.scheme}://${url.hostname}:${url.port}${url.path.replace(/\.git$/, "")}`;
}

/** `scheme://host:port` with the port always written. */
export function originOf(url: RepositoryUrl): string {
  return `${url.scheme}://${url.hostname}:${url.port}`;
}

function canonicalPath(raw: string): Parsed<string> {
  const segments = raw.split("/").slice(1);
  if (!raw.startsWith("/") || segments.length === 0 || segments.length > MAX_SEGMENTS) {
    return no(`must have a path of 1 to ${MAX_SEGMENTS} segments`);
  }
  const canonical: string[] = [];
  for (const segment of segments) {
    const decoded = decodeOnce(segment);
    if (decoded === undefined) {
      return no("must have a path without empty, dot, or doubly encoded segments, slashes or control characters");
    }
    canonical.push(encodeURIComponent(decoded));
  }
  if (canonical.at(-1) === ".git") {
    return no("must name a repository");
  }
  return { ok: true, value: `/${canonical.join("/")}` };
}

function decodeOnce(segment: string): string | undefined {
  if (!SEGMENT.test(segment)) {
    return undefined;
  }
  let decoded: string;
  try {
    decoded = decodeURIComponent(segment);
  } catch {
    return undefined;
  }
  // biome-ignore lint/suspicious/noControlCharactersInRegex: refusing control characters is the point.
  const unsafe = decoded === "." || decoded === ".." || /[/\\%?#\x00-\x20\x7f]/.test(decoded);
  // A segment like `%2e` decodes to a dot segment above; one like `.%67it` is only an odd spelling and is re-encoded.
  return unsafe ? undefined : decoded;
}
