/**
 * Clients that sign do not send their secret at all, so there is no placeholder to replace: what they signed with the
 * placeholder is signed again with the credential. Known are AWS Signature Version 4, of requests and of URLs, and plain
 * HMAC-SHA256 over the body (GitHub), over `timestamp.body` (Stripe) and over `v0:timestamp:body` (Slack), in hex or
 * base64. Pure.
 *
 * N1 nothing is signed that was not signed with this session's own placeholder before.
 */
import { createHmac } from "node:crypto";
import { parseSignedUrl, parseSigV4, type SignedRequest, signAgain, signatureOf, styleSignedBy } from "./sigv4.ts";

/** A secret and what stands for it in the hand. */
export type SigningPair = { readonly placeholder: string; readonly secret: string };

type Headers = Record<string, string | string[]>;
type Signed = { readonly path: string; readonly headers: Headers; readonly placeholder: string };

/** The longest body that is read before it is sent on, in bytes; longer ones are not signed again. */
export const MAX_SIGNED_BODY = 8 * 1024 * 1024;

/** True when the headers or the URL carry what may be a signature, so that the body has to be read first. */
export function maySign(headers: Headers, path: string): boolean {
  if (SIGNED_URL.test(path)) return true;
  return Object.values(headers).some((value) => [value].flat().some((text) => SIGNATURE.test(text)));
}

/** 32 bytes in hex or base64. */
const SIGNATURE = /(?<![0-9A-Za-z+/])([0-9a-f]{64}|[A-Za-z0-9+/]{43}=)(?![0-9A-Za-z+/=])/;

const SIGNED_URL = /[?&]X-Amz-Signature=[0-9a-f]{64}(?:&|$)/;

/**
 * The path and headers with every signature made anew, and whose it is. `before` is the request as the client signed it; `body`
 * what is sent in its place. Undefined when none of the pairs signed anything.
 */
export function resign(
  pairs: readonly SigningPair[],
  before: SignedRequest,
  body: Buffer,
  headers: Headers,
): Signed | undefined {
  return (
    resignUrl(pairs, before, body, headers) ??
    resignAws(pairs, before, body, headers) ??
    resignHmac(pairs, before, body, headers)
  );
}

/** S3 leaves the body out of what is signed, others do not. */
const PAYLOADS: readonly Record<string, string>[] = [{ "x-amz-content-sha256": "UNSIGNED-PAYLOAD" }, {}];

/** A signature tells nothing of its key, so it may stand in a URL; the key's id there is the client's own, no placeholder. */
function resignUrl(
  pairs: readonly SigningPair[],
  before: SignedRequest,
  body: Buffer,
  headers: Headers,
): Signed | undefined {
  const parts = parseSignedUrl(before.path);
  if (!parts) return undefined;
  for (const { placeholder, secret } of pairs) {
    for (const unsigned of PAYLOADS) {
      const style = styleSignedBy(placeholder, parts, { ...before, headers: { ...before.headers, ...unsigned } });
      if (!style) continue;
      const anew = signatureOf(secret, parts, { ...before, headers: { ...headers, ...unsigned }, body }, style);
      return { path: before.path.replace(parts.signature, anew), headers, placeholder };
    }
  }
  return undefined;
}

function resignAws(
  pairs: readonly SigningPair[],
  before: SignedRequest,
  body: Buffer,
  headers: Headers,
): Signed | undefined {
  const parts = parseSigV4([before.headers.authorization ?? ""].flat().join(","));
  if (!parts) return undefined;
  for (const { placeholder, secret } of pairs) {
    const style = styleSignedBy(placeholder, parts, before);
    if (!style) continue;
    // The key's id may be a placeholder itself; it is part of what is signed nowhere but in the header.
    const accessKeyId = pairs.find((pair) => pair.placeholder === parts.accessKeyId)?.secret ?? parts.accessKeyId;
    // Changed on the way so that answers can be searched; when it was signed, it goes as it came.
    const kept = parts.signedHeaders.includes("accept-encoding") ? before.headers["accept-encoding"] : undefined;
    const sent: Headers = kept === undefined ? headers : { ...headers, "accept-encoding": [kept].flat().join(",") };
    const authorization = signAgain({ accessKeyId, secret }, parts, { ...before, headers: sent, body }, style);
    return { path: before.path, headers: { ...sent, authorization }, placeholder };
  }
  return undefined;
}

function resignHmac(
  pairs: readonly SigningPair[],
  before: SignedRequest,
  body: Buffer,
  headers: Headers,
): Signed | undefined {
  const flat = Object.values(before.headers).flatMap((value) => [value].flat());
  const times = new Set(flat.flatMap((text) => /(?:^|t=)(\d{9,13})(?:$|,)/.exec(text)?.[1] ?? []));
  const forms: ((content: Buffer) => (Buffer | string)[])[] = [
    (content) => [content],
    ...[...times].flatMap((time) => [
      (content: Buffer) => [`${time}.`, content],
      (content: Buffer) => [`v0:${time}:`, content],
    ]),
  ];
  for (const { placeholder, secret } of pairs) {
    for (const form of forms) {
      for (const coding of ["hex", "base64"] as const) {
        const old = hmac(placeholder, form(before.body), coding);
        if (!flat.some((text) => text.includes(old))) continue;
        const anew = hmac(secret, form(body), coding);
        const signed = Object.entries(headers).map(([name, value]) => [
          name,
          typeof value === "string" ? value.replaceAll(old, anew) : value.map((one) => one.replaceAll(old, anew)),
        ]);
        return { path: before.path, headers: Object.fromEntries(signed), placeholder };
      }
    }
  }
  return undefined;
}

function hmac(key: string, parts: readonly (Buffer | string)[], coding: "hex" | "base64"): string {
  const sum = createHmac("sha256", key);
  for (const part of parts) sum.update(part);
  return sum.digest(coding);
}
