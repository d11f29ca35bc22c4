/**
 * AWS Signature Version 4 (docs.aws.amazon.com, "Create a signed AWS API request"), only to sign again what a client
 * in a hand has signed with a placeholder. Pure.
 */
import { createHash, createHmac } from "node:crypto";

/** A request as it was signed: the path with its query, and headers in lower case. */
export type SignedRequest = {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
  readonly body: Buffer;
};

/** The parts of an `Authorization: AWS4-HMAC-SHA256 …` header, or of a signed URL. */
export type SigV4 = {
  readonly accessKeyId: string;
  readonly date: string;
  readonly region: string;
  readonly service: string;
  readonly signedHeaders: readonly string[];
  readonly signature: string;
  /** When it was signed; absent where a header says it. */
  readonly time?: string;
};

const HEADER =
  /^AWS4-HMAC-SHA256 Credential=([^/,\s]+)\/(\d{8})\/([^/,\s]+)\/([^/,\s]+)\/aws4_request, ?SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})$/;

/** Reads the header; undefined when it is something else. */
export function parseSigV4(authorization: string): SigV4 | undefined {
  const [, accessKeyId = "", date = "", region = "", service = "", names = "", signature = ""] =
    HEADER.exec(authorization) ?? [];
  return signature === ""
    ? undefined
    : { accessKeyId, date, region, service, signedHeaders: names.split(";"), signature };
}

/** Reads a signed ("presigned") URL; undefined when it is none. */
export function parseSignedUrl(path: string): SigV4 | undefined {
  const query = new URLSearchParams(path.split("?", 2)[1] ?? "");
  const of = (name: string) => query.get(`X-Amz-${name}`) ?? "";
  const [accessKeyId = "", date = "", region = "", service = "", end] = of("Credential").split("/");
  const signature = of("Signature");
  const isKnown = of("Algorithm") === ALGORITHM && end === "aws4_request" && /^[0-9a-f]{64}$/.test(signature);
  if (!isKnown) return undefined;
  const signedHeaders = of("SignedHeaders").split(";");
  return { accessKeyId, date, region, service, signedHeaders, signature, time: of("Date") };
}

const ALGORITHM = "AWS4-HMAC-SHA256";

/** How a path is written when it is signed: as it was sent (S3), or encoded once more (everybody else). */
export type PathStyle = "as sent" | "encoded again";

/** The style with which this key gives the header's signature, or undefined when the key did not sign. */
export function styleSignedBy(secret: string, parts: SigV4, request: SignedRequest): PathStyle | undefined {
  const styles: readonly PathStyle[] = ["as sent", "encoded again"];
  return styles.find((style) => signatureOf(secret, parts, request, style) === parts.signature);
}

/** The header with the signature of another key. */
export function signAgain(
  key: { readonly accessKeyId: string; readonly secret: string },
  parts: SigV4,
  request: SignedRequest,
  style: PathStyle,
): string {
  const { date, region, service, signedHeaders } = parts;
  const scope = `${date}/${region}/${service}/aws4_request`;
  const signature = signatureOf(key.secret, parts, request, style);
  return `AWS4-HMAC-SHA256 Credential=${key.accessKeyId}/${scope}, SignedHeaders=${signedHeaders.join(";")}, Signature=${signature}`;
}

/** The signature of a key. */
export function signatureOf(secret: string, parts: SigV4, request: SignedRequest, style: PathStyle): string {
  const { date, region, service } = parts;
  const text = [
    ALGORITHM,
    parts.time ?? headerOf(request, "x-amz-date"),
    `${date}/${region}/${service}/aws4_request`,
    sha256(canonicalRequest(parts, request, style)),
  ].join("\n");
  const key = [date, region, service, "aws4_request"].reduce<Buffer | string>(
    (from, part) => createHmac("sha256", from).update(part).digest(),
    `AWS4${secret}`,
  );
  return createHmac("sha256", key).update(text).digest("hex");
}

function canonicalRequest({ signedHeaders }: SigV4, request: SignedRequest, style: PathStyle): string {
  const [rawPath = "/", query = ""] = request.path.split("?", 2);
  const path = style === "as sent" ? rawPath : rawPath.split("/").map(encodeStrictly).join("/");
  const parameters = query
    .split("&")
    .filter((one) => one !== "" && !one.startsWith("X-Amz-Signature="))
    .map((one) => (one.includes("=") ? one : `${one}=`))
    .sort();
  const headers = signedHeaders.map((name) => `${name}:${headerOf(request, name).trim().replace(/ +/g, " ")}\n`);
  const bodyHash = headerOf(request, "x-amz-content-sha256") || sha256(request.body);
  return [request.method, path, parameters.join("&"), headers.join(""), signedHeaders.join(";"), bodyHash].join("\n");
}

function headerOf({ headers }: SignedRequest, name: string): string {
  return [headers[name] ?? ""].flat().join(",");
}

function encodeStrictly(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, (one) => `%${one.charCodeAt(0).toString(16).toUpperCase()}`);
}

function sha256(data: Buffer | string): string {
  return createHash("sha256").update(data).digest("hex");
}
