/**
 * Placeholders out, secrets in; and on the way back the other way round. Pure but for the streams it makes.
 *
 * W1 a placeholder is replaced only in the places its credential allows (header, body), never in a URL, where logs of
 * others would keep it. W2 what comes back is searched for the secret in the spellings a server could echo it in: as it
 * is, in base64 at each of its three offsets, in hex and percent-encoded. W3 no stream is held back longer than a
 * spelling that may be beginning.
 */
import type { Duplex } from "node:stream";
import { createBrotliDecompress, createGunzip, createInflate } from "node:zlib";
import type { Secret } from "@manyhands/kit";
import { type Replacement, replaceInBytes, replaceInStream, replaceInText } from "./replace.ts";
import { resign } from "./sign-again.ts";
import type { SignedRequest } from "./sigv4.ts";

/** A credential that may be used at one host. */
export type SwapCredential = {
  readonly id: string;
  /** What stands for it in the hand. */
  readonly placeholder: string;
  readonly value: Secret;
  readonly header: boolean;
  readonly body: boolean;
};

type Headers = Record<string, string | string[]>;

/** What to send instead. `body` are streams to put between the client's body and the upstream. */
export type SwappedRequest = {
  readonly headers: Headers;
  readonly body: readonly Duplex[];
  /** Credentials that went in by a header, or may by the body. */
  readonly credentialIds: readonly string[];
};

/** The credentials of one session for one host. */
export type Swap = {
  outgoing(headers: Headers): SwappedRequest;
  /** The same for a request whose body was read because it may be signed; `headers` and `path` as the client sent them. */
  outgoingWhole(request: SignedRequest): {
    readonly headers: Headers;
    readonly body: Buffer;
    readonly credentialIds: readonly string[];
  };
  incoming(headers: Headers): { readonly headers: Headers; readonly body: readonly Duplex[] };
};

/** Secrets shorter than this are not searched for in answers: they would be found everywhere. */
const MIN_SCRUBBED = 8;

/** A swap, or undefined when there is nothing to swap. */
export function createSwap(credentials: readonly SwapCredential[]): Swap | undefined {
  if (credentials.length === 0) return undefined;
  const inHeaders = credentials.filter(({ header }) => header).map(toSecret);
  const inBody = credentials.filter(({ body }) => body).map(toSecret);
  const back = credentials.flatMap(toPlaceholder);
  // A signature is a use in a header.
  const pairs = credentials.flatMap(({ header, placeholder, value }) =>
    header ? [{ placeholder, secret: value.reveal() }] : [],
  );
  return {
    outgoing(headers) {
      const used = credentials.filter((one) => one.header && mentions(headers, one.placeholder));
      const swapped = mapHeaders(headers, (value, name) =>
        name === "authorization" ? swapAuthorization(value, inHeaders) : replaceInText(value, inHeaders),
      );
      // An answer in plain text can be searched without unpacking it first.
      const plain: Headers = { ...swapped, "accept-encoding": "identity" };
      const hasBody = headers["content-length"] !== undefined || headers["transfer-encoding"] !== undefined;
      const readable = headers["content-encoding"] === undefined || headers["content-encoding"] === "identity";
      if (inBody.length === 0 || !readable || !hasBody) {
        return { headers: plain, body: [], credentialIds: used.map(({ id }) => id) };
      }
      // The length changes with the first replacement; chunks say so as they come.
      const { "content-length": _length, ...rest } = plain;
      return { headers: rest, body: [replaceInStream(inBody)], credentialIds: used.map(({ id }) => id) };
    },
    outgoingWhole(request) {
      const given: Headers = Object.fromEntries(
        Object.entries(request.headers).map(([name, value]) => [name, typeof value === "string" ? value : [...value]]),
      );
      const { headers, credentialIds } = this.outgoing({ ...given, "content-length": "0" });
      const readable = given["content-encoding"] === undefined || given["content-encoding"] === "identity";
      const body = readable ? replaceInBytes(request.body, inBody) : request.body;
      const length = { "content-length": String(body.length) };
      const signed = resign(pairs, request, body, { ...headers, ...length });
      if (!signed) return { headers: { ...headers, ...length }, body, credentialIds };
      const [signer = ""] = credentials.filter(({ header }) => header).map(({ id }) => id);
      return { headers: signed, body, credentialIds: credentialIds.length > 0 ? credentialIds : [signer] };
    },
    incoming(headers) {
      const unpack = unpacker(String(headers["content-encoding"] ?? "identity"));
      const { "content-length": _length, "content-encoding": _encoding, ...rest } = headers;
      return {
        headers: mapHeaders(rest, (value) => replaceInText(value, back)),
        body: [...(unpack ? [unpack] : []), replaceInStream(back)],
      };
    },
  };
}

function toSecret({ placeholder, value }: SwapCredential): Replacement {
  return { from: Buffer.from(placeholder), to: Buffer.from(value.reveal()) };
}

/** W2. */
function toPlaceholder({ placeholder, value }: SwapCredential): Replacement[] {
  const secret = Buffer.from(value.reveal());
  if (secret.length < MIN_SCRUBBED) return [];
  const to = Buffer.from(placeholder);
  const spellings = [secret, Buffer.from(secret.toString("hex")), Buffer.from(secret.toString("hex").toUpperCase())];
  for (const offset of [0, 1, 2]) {
    spellings.push(...base64Core(secret, offset).map((text) => Buffer.from(text)));
  }
  const percent = Buffer.from(encodeURIComponent(value.reveal()));
  const inJson = Buffer.from(JSON.stringify(value.reveal()).slice(1, -1));
  return [...spellings, percent, inJson].filter((from) => from.length >= MIN_SCRUBBED).map((from) => ({ from, to }));
}

/** The characters of base64 that depend on the secret alone when it stands at an offset of a longer text. */
function base64Core(secret: Buffer, offset: number): string[] {
  const padded = Buffer.concat([Buffer.alloc(offset), secret]);
  const whole = padded.length - (padded.length % 3);
  const first = offset === 0 ? 0 : 4;
  const standard = padded.subarray(0, whole).toString("base64").slice(first);
  return [standard, standard.replaceAll("+", "-").replaceAll("/", "_")];
}

/** Basic credentials are looked into (RFC 7617): `curl -u user:$TOKEN` is how many tools send a token. */
function swapAuthorization(value: string, replacements: readonly Replacement[]): string {
  const basic = /^(basic +)([A-Za-z0-9+/=]+)$/i.exec(value);
  if (!basic) return replaceInText(value, replacements);
  const [, scheme = "", coded = ""] = basic;
  const decoded = Buffer.from(coded, "base64").toString("latin1");
  const swapped = replaceInText(decoded, replacements);
  return swapped === decoded ? value : `${scheme}${Buffer.from(swapped, "latin1").toString("base64")}`;
}

function mentions(headers: Headers, placeholder: string): boolean {
  return Object.entries(headers).some(([name, value]) =>
    [value].flat().some((text) => {
      if (text.includes(placeholder)) return true;
      const coded = name === "authorization" ? /^basic +(.+)$/i.exec(text)?.[1] : undefined;
      return coded !== undefined && Buffer.from(coded, "base64").toString("latin1").includes(placeholder);
    }),
  );
}

function mapHeaders(headers: Headers, change: (value: string, name: string) => string): Headers {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [
      name,
      typeof value === "string" ? change(value, name) : value.map((one) => change(one, name)),
    ]),
  );
}

function unpacker(encoding: string): Duplex | undefined {
  switch (encoding.trim().toLowerCase()) {
    case "gzip":
    case "x-gzip":
      return createGunzip();
    case "deflate":
      return createInflate();
    case "br":
      return createBrotliDecompress();
    default:
      return undefined;
  }
}
