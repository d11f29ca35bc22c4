/**
 * Placeholders out, secrets in; and on the way back the other way round. Pure but for the streams it makes.
 *
 * W1 a placeholder is replaced only in the places its credential allows (header, body), never in a URL, where logs of
 * others would keep it. W2 what comes back is searched for the secret in the spellings a server could echo it in: as it
 * is, backwards, in base64 at each of its three offsets, in hex, percent-encoded and in JSON's escapes. W3 no stream is
 * held back longer than a spelling that may be beginning. W4 a token in the answer to a request that carried a
 * credential is kept, and a placeholder goes on in its place.
 */
import type { Duplex } from "node:stream";
import { createBrotliDecompress, createGunzip, createInflate, createZstdDecompress } from "node:zlib";
import type { Secret } from "@manyhands/kit";
import { DERIVED_LIMITS } from "../store/derived-token-store.ts";
import {
  type Replacement,
  type Replacer,
  replaceInBytes,
  replaceInStream,
  replaceInText,
  replacer,
} from "./replace.ts";
import { resign } from "./sign-again.ts";
import type { SignedRequest } from "./sigv4.ts";
import { type Capture, captureInHeader, captureInUrl, tokenStreams } from "./token-stream.ts";

/** A credential that may be used at one host, or a token that an API made from some. */
export type SwapCredential = {
  readonly id: string;
  /** What stands for it in the hand. */
  readonly placeholder: string;
  readonly value: Secret;
  readonly header: boolean;
  readonly body: boolean;
  /** The credentials a token was made from; absent for a credential itself. */
  readonly madeFrom?: readonly string[];
};

type Headers = Record<string, string | string[]>;

/** What to send instead. `body` are streams to put between the client's body and the upstream. */
export type SwappedRequest = {
  readonly headers: Headers;
  readonly body: readonly Duplex[];
  /** Credentials that went in; grows while the body passes. */
  readonly used: ReadonlySet<string>;
};

/** The same for a body that was read as a whole. */
export type SwappedWhole = Omit<SwappedRequest, "body"> & { readonly path: string; readonly body: Buffer };

/** What to answer instead: the body by these streams, then through `scrub`. */
export type SwappedAnswer = { readonly headers: Headers; readonly body: readonly Duplex[]; readonly scrub: Replacer };

/** The credentials of one session for one host. */
export type Swap = {
  outgoing(headers: Headers): SwappedRequest;
  /** The same for a request whose body was read because it may be signed; `headers` and `path` as the client sent them. */
  outgoingWhole(request: SignedRequest): SwappedWhole;
  /** Rejects with UnsearchableAnswer. `used` are the credentials that the request carried. */
  incoming(headers: Headers, used: ReadonlySet<string>): Promise<SwappedAnswer>;
};

/** Keeps a token that an API made from these credentials; answers its placeholder. */
export type KeepToken = (token: string, madeFrom: readonly string[]) => Promise<SwapCredential>;

/** An answer in a coding that cannot be undone here, so that nobody can tell what it holds. */
export class UnsearchableAnswer extends Error {
  override readonly name = "UnsearchableAnswer";
}

/** What a hand holds in place of a credential, or of a token made from one. */
const PLACEHOLDER = /^mh(?:ph|dt)_[\w-]{32}$/;
/** Secrets shorter than this are not searched for in answers: they would be found everywhere. */
const MIN_SCRUBBED = 8;

/** A swap, or undefined when there is nothing to swap. Without `keepToken` tokens in answers are left as they are. */
export function createSwap(credentials: readonly SwapCredential[], keepToken?: KeepToken): Swap | undefined {
  if (credentials.length === 0) return undefined;
  const back = credentials.flatMap(toPlaceholder);
  // A signature is a use in a header.
  const pairs = credentials.flatMap(({ header, placeholder, value }) =>
    header ? [{ placeholder, secret: value.reveal() }] : [],
  );
  const outgoing = (headers: Headers, used: Set<string>): Headers => {
    const inHeaders = credentials.filter(({ header }) => header);
    for (const one of inHeaders) if (mentions(headers, one.placeholder)) note(used, one);
    const secrets = inHeaders.map((one) => toSecret(one));
    const swapped = mapHeaders(headers, (value, name) =>
      name === "authorization" ? swapAuthorization(value, secrets) : replaceInText(value, secrets),
    );
    // An answer in plain text can be searched without unpacking it first.
    return { ...swapped, "accept-encoding": "identity" };
  };
  /** Tells by the body's first bytes how it is written. */
  const inBody = (headers: Headers, used: Set<string>, first: Buffer) => {
    const write = bodyWriter(String(headers["content-type"] ?? ""), first);
    return credentials
      .filter(({ body }) => body)
      .map((one) => ({ ...toSecret(one, write), onPut: () => note(used, one) }));
  };
  return {
    outgoing(headers) {
      const used = new Set<string>();
      const plain = outgoing(headers, used);
      const hasBody = headers["content-length"] !== undefined || headers["transfer-encoding"] !== undefined;
      if (!credentials.some(({ body }) => body) || !isReadable(headers) || !hasBody) {
        return { headers: plain, body: [], used };
      }
      // The length changes with the first replacement; chunks say so as they come.
      const { "content-length": _length, ...rest } = plain;
      let replacements: readonly Replacement[] | undefined;
      const replaced = replaceInStream((chunk) => {
        replacements ??= inBody(headers, used, chunk);
        return replacements;
      });
      return { headers: rest, body: [replaced], used };
    },
    outgoingWhole(request) {
      const given: Headers = Object.fromEntries(
        Object.entries(request.headers).map(([name, value]) => [name, typeof value === "string" ? value : [...value]]),
      );
      const used = new Set<string>();
      const replaced = isReadable(given)
        ? replaceInBytes(request.body, inBody(given, used, request.body))
        : request.body;
      const headers = { ...outgoing(given, used), "content-length": String(replaced.length) };
      const signed = resign(pairs, request, replaced, headers);
      if (!signed) return { path: request.path, headers, body: replaced, used };
      const signer = credentials.find(({ placeholder }) => placeholder === signed.placeholder);
      if (signer) note(used, signer);
      return { path: signed.path, headers: signed.headers, body: replaced, used };
    },
    async incoming(headers, used) {
      const unpack = unpackers(String(headers["content-encoding"] ?? ""));
      const found: SwapCredential[] = [];
      const capture: Capture = {
        wanted: () => keepToken !== undefined && used.size > 0,
        async keep(token) {
          const known = [...credentials, ...found].find(({ value }) => value.reveal() === token);
          if (PLACEHOLDER.test(token)) return token;
          // The credential itself is no token made from it.
          if (!keepToken || (known && (!known.madeFrom || found.includes(known)))) return known?.placeholder ?? token;
          if (found.length >= DERIVED_LIMITS.tokens) throw new Error("the answer holds more tokens than a session may");
          const kept = await keepToken(token, [...used]);
          found.push(kept);
          return kept.placeholder;
        },
      };
      const { "content-length": _length, "content-encoding": _encoding, ...rest } = headers;
      for (const [name, value] of Object.entries(rest)) {
        if (typeof value !== "string") continue;
        rest[name] = await (name === "location" ? captureInUrl(value, capture) : captureInHeader(name, value, capture));
      }
      // What was found is taken out of the rest of the answer too.
      let all = back;
      let seen = 0;
      const scrub = replacer(() => {
        if (found.length > seen) all = [...all, ...found.slice(seen).flatMap(toPlaceholder)];
        seen = found.length;
        return all;
      });
      const kind = String(headers["content-type"] ?? "");
      return {
        headers: mapHeaders(rest, (value) => replaceInText(value, back)),
        body: [...unpack, ...(keepToken ? tokenStreams(kind, capture) : [])],
        scrub,
      };
    },
  };
}

function note(used: Set<string>, { id, madeFrom }: SwapCredential): void {
  for (const one of madeFrom ?? [id]) used.add(one);
}

function isReadable(headers: Headers): boolean {
  const coding = headers["content-encoding"];
  return coding === undefined || coding === "identity";
}

/** How a secret has to be written in a body of this type to mean itself. */
function bodyWriter(contentType: string, first: Buffer): (secret: string) => string {
  const isForm = /^application\/x-www-form-urlencoded\b/i.test(contentType);
  // `curl -d` calls everything a form.
  const isJson = /^\s*[[{]/.test(first.subarray(0, 64).toString("latin1"));
  if (/[/+]json\b/i.test(contentType) || (isForm && isJson)) return (secret) => JSON.stringify(secret).slice(1, -1);
  return isForm ? encodeURIComponent : (secret) => secret;
}

function toSecret({ placeholder, value }: SwapCredential, write = (secret: string) => secret): Replacement {
  return { from: Buffer.from(placeholder), to: Buffer.from(write(value.reveal())) };
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
  const backwards = Buffer.from([...value.reveal()].toReversed().join(""));
  const all = [...spellings, percent, inJson, backwards];
  if (secret.length <= MAX_ESCAPED) all.push(Buffer.from(value.reveal().replaceAll(/./gs, jsonEscape)));
  return all.filter((from) => from.length >= MIN_SCRUBBED).map((from) => ({ from, to }));
}

/** Longer ones are not searched for as escapes alone, which are six times as long. */
const MAX_ESCAPED = 512;

function jsonEscape(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
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

/** The codings of an answer undone, the last one first. */
function unpackers(encoding: string): Duplex[] {
  const codings = encoding
    .split(",")
    .map((coding) => coding.trim().toLowerCase())
    .filter((coding) => coding !== "" && coding !== "identity");
  if (codings.length > MAX_CODINGS) throw new UnsearchableAnswer("the answer is packed too often");
  return codings.toReversed().map((coding) => {
    switch (coding) {
      case "gzip":
      case "x-gzip":
        return createGunzip();
      case "deflate":
        return createInflate();
      case "br":
        return createBrotliDecompress();
      case "zstd":
        return createZstdDecompress();
      default:
        throw new UnsearchableAnswer("the answer is packed in a way that is not known here");
    }
  });
}

const MAX_CODINGS = 3;
