import { createHmac } from "node:crypto";
import { Secret } from "@manyhands/kit";
import { describe, expect, it } from "vitest";
import { maySign } from "./sign-again.ts";
import { parseSignedUrl, parseSigV4, type SignedRequest, signAgain, signatureOf, styleSignedBy } from "./sigv4.ts";
import { createSwap } from "./swap.ts";

/** The example of AWS's own test suite (aws-sig-v4-test-suite, get-vanilla). */
const EXAMPLE_SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const example: SignedRequest = {
  method: "GET",
  path: "/",
  headers: {
    host: "example.amazonaws.com",
    "x-amz-date": "20150830T123600Z",
    authorization:
      "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date, Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
  },
  body: Buffer.alloc(0),
};

describe("AWS signatures", () => {
  const parts = parseSigV4(String(example.headers.authorization));

  it("are those of the published example", () => {
    expect(parts && styleSignedBy(EXAMPLE_SECRET, parts, example)).toBe("as sent");
    expect(parts && styleSignedBy("another key", parts, example)).toBeUndefined();
    expect(parts && styleSignedBy(EXAMPLE_SECRET, parts, { ...example, path: "/other" })).toBeUndefined();
  });

  it("of a placeholder become those of the credential, the key's id with it", () => {
    const secret = "the-real-secret-key-0123456789";
    const swap = createSwap([
      { id: "vcrd_id", placeholder: "mhph_id", value: new Secret("AKIDREAL"), header: true, body: false },
      { id: "vcrd_key", placeholder: "mhph_key", value: new Secret(secret), header: true, body: false },
    ]);
    if (!parts) throw new Error("the example is not readable");
    const path = "/bucket/a%20b?list-type=2&prefix=x";
    const body = Buffer.from("content");
    const headers = { ...example.headers, "accept-encoding": "gzip", "content-type": "text/plain" };
    const unsigned = { method: "PUT", path, headers, body };
    const named = { ...parts, signedHeaders: ["accept-encoding", "host", "x-amz-date"] };
    const authorization = signAgain({ accessKeyId: "mhph_id", secret: "mhph_key" }, named, unsigned, "as sent");
    const out = swap?.outgoingWhole({ ...unsigned, headers: { ...headers, authorization } });
    const expected = signAgain({ accessKeyId: "AKIDREAL", secret }, named, unsigned, "as sent");
    expect(out?.headers.authorization).toBe(expected);
    expect(out?.headers["accept-encoding"], "a signed header stays").toBe("gzip");
    expect([...(out?.used ?? [])].toSorted()).toEqual(["vcrd_id", "vcrd_key"]);
  });
});

describe("signed URLs", () => {
  /** The example of AWS's own documentation ("Authenticating requests: using query parameters"). */
  const credential = "AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request";
  const signature = "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
  const pathWith = (signed: string) =>
    `/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=${credential}&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=${signed}`;
  const headers = { host: "examplebucket.s3.amazonaws.com", "x-amz-content-sha256": "UNSIGNED-PAYLOAD" };
  const published = { method: "GET", path: pathWith(signature), headers, body: Buffer.alloc(0) };
  const secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
  const swap = createSwap([
    { id: "vcrd_1", placeholder: "mhph_one", value: new Secret(secret), header: true, body: false },
  ]);
  const parts = parseSignedUrl(published.path);

  it("are those of the published example", () => {
    expect(parts && styleSignedBy(secret, parts, published)).toBe("as sent");
    expect(parts && styleSignedBy("another key", parts, published)).toBeUndefined();
  });

  it.each([
    ["with the body left out, as S3 has it", { ...published, method: "PUT", body: Buffer.from("any") }],
    ["with the body signed", { ...published, headers: { host: headers.host } }],
  ])("of a placeholder become those of the credential, %s", (_, request) => {
    if (!parts) throw new Error("the example is not readable");
    const path = pathWith(signatureOf("mhph_one", parts, request, "as sent"));
    expect(maySign({ host: headers.host }, path)).toBe(true);
    const out = swap?.outgoingWhole({ ...request, path, headers: { host: headers.host } });
    expect(out?.path).toBe(pathWith(signatureOf(secret, parts, request, "as sent")));
    expect([...(out?.used ?? [])]).toEqual(["vcrd_1"]);
  });

  it("of others stay as they are", () => {
    expect(swap?.outgoingWhole({ ...published, headers: { host: "other.example" } }).path).toBe(published.path);
  });
});

describe("HMAC signatures", () => {
  const secret = "the-real-webhook-secret";
  const swap = createSwap([
    { id: "vcrd_1", placeholder: "mhph_one", value: new Secret(secret), header: true, body: true },
  ]);
  const hmac = (key: string, text: string, coding: "hex" | "base64" = "hex") =>
    createHmac("sha256", key).update(text).digest(coding);
  const sign = (headers: Record<string, string>, body: string) =>
    swap?.outgoingWhole({ method: "POST", path: "/", headers, body: Buffer.from(body) });

  it("over the body, in hex and base64, over a timestamp and the body", () => {
    expect(
      sign({ "x-hub-signature-256": `sha256=${hmac("mhph_one", "{}")}` }, "{}")?.headers["x-hub-signature-256"],
    ).toBe(`sha256=${hmac(secret, "{}")}`);
    expect(sign({ "x-signature": hmac("mhph_one", "{}", "base64") }, "{}")?.headers["x-signature"]).toBe(
      hmac(secret, "{}", "base64"),
    );
    const stripe = (key: string) => ({ "stripe-signature": `t=1700000000,v1=${hmac(key, "1700000000.{}")}` });
    expect(sign(stripe("mhph_one"), "{}")?.headers).toMatchObject(stripe(secret));
    const slack = (key: string) => ({
      "x-slack-request-timestamp": "1700000000",
      "x-slack-signature": `v0=${hmac(key, "v0:1700000000:{}")}`,
    });
    expect(sign(slack("mhph_one"), "{}")?.headers).toMatchObject(slack(secret));
  });

  it("cover the body with the credential in it", () => {
    const out = sign({ "x-signature": hmac("mhph_one", "key=mhph_one") }, "key=mhph_one");
    expect(out?.body.toString()).toBe(`key=${secret}`);
    expect(out?.headers["x-signature"]).toBe(hmac(secret, `key=${secret}`));
    expect(out?.headers["content-length"]).toBe(String(`key=${secret}`.length));
  });

  it("of others stay as they are", () => {
    const foreign = hmac("somebody else's key", "{}");
    expect(sign({ "x-signature": foreign }, "{}")?.headers["x-signature"]).toBe(foreign);
    expect(maySign({ "x-signature": foreign }, "/")).toBe(true);
    expect(maySign({ accept: "*/*", authorization: "Bearer mhph_one" }, "/?X-Amz-Signature=short")).toBe(false);
  });
});
