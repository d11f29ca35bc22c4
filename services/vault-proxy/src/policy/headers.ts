/** Which headers pass a proxy. Pure; names are compared in lower case, values with line breaks never pass. */

/** Headers as node gives them. */
export type RawHeaders = Readonly<Record<string, string | readonly string[] | undefined>>;
/** Headers to send on. */
export type CleanHeaders = Record<string, string | string[]>;

/** Headers of one connection (RFC 9110 7.6.1) and those that carry a credential or say where the client was. */
const NEVER_SENT_ON = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "proxy-authenticate",
  "proxy-authorization",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "expect",
  "host",
  "authorization",
  "x-api-key",
  "cookie",
  "set-cookie",
  "forwarded",
  "via",
  "x-forwarded-for",
  "x-forwarded-host",
  "x-forwarded-proto",
  "x-real-ip",
]);

// biome-ignore lint/suspicious/noControlCharactersInRegex: refusing control characters is the point.
const UNSAFE_VALUE = /[\x00-\x08\x0a-\x1f\x7f]/;

/** All headers but those of the connection, those it names, and every credential. */
export function passHeaders(headers: RawHeaders): CleanHeaders {
  const named = new Set(
    String(headers.connection ?? "")
      .split(",")
      .map((name) => name.trim().toLowerCase()),
  );
  return select(headers, (name) => !NEVER_SENT_ON.has(name) && !named.has(name));
}

/** Only the headers of a list. */
export function onlyHeaders(headers: RawHeaders, allowed: ReadonlySet<string>): CleanHeaders {
  return select(headers, (name) => allowed.has(name));
}

/** Drops headers whose value holds the secret, however a server came to echo it. */
export function withoutSecret(headers: CleanHeaders, secret: string): CleanHeaders {
  return secret === "" ? headers : select(headers, (_, values) => !values.some((value) => value.includes(secret)));
}

function select(headers: RawHeaders, keep: (name: string, values: readonly string[]) => boolean): CleanHeaders {
  const out: CleanHeaders = {};
  for (const [rawName, value] of Object.entries(headers)) {
    const name = rawName.toLowerCase();
    const values = value === undefined ? [] : typeof value === "string" ? [value] : value;
    if (values.length > 0 && keep(name, values) && !values.some((text) => UNSAFE_VALUE.test(text))) {
      const [first = ""] = values;
      out[name] = values.length === 1 ? first : [...values];
    }
  }
  return out;
}
