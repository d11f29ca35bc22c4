import { describe, expect, it } from "vitest";
import { onlyHeaders, passHeaders, withoutSecret } from "./headers.ts";

describe("headers that pass", () => {
  it("drops those of the connection, those it names in any case, and every credential", () => {
    const headers = {
      Connection: "close, X-Real-Auth",
      connection: "close, X-Real-Auth",
      "x-real-auth": "a",
      AUTHORIZATION: "Bearer x",
      "X-Api-Key": "k",
      Cookie: "c",
      te: "trailers",
      "transfer-encoding": "chunked",
      accept: "*/*",
      "anthropic-beta": "a,b",
    };
    expect(passHeaders(headers)).toEqual({ accept: "*/*", "anthropic-beta": "a,b" });
  });

  it("drops values with line breaks or control characters", () => {
    const headers = { a: "x\r\nb: y", b: "x\ny", c: "x\0", d: "fine\ttab", e: ["one", "t\rwo"], f: ["one", "two"] };
    expect(passHeaders(headers)).toEqual({ d: "fine\ttab", f: ["one", "two"] });
  });

  it("keeps only a list when told to", () => {
    expect(onlyHeaders({ A: "1", b: "2" }, new Set(["a"]))).toEqual({ a: "1" });
  });

  it("drops headers that hold the secret", () => {
    expect(withoutSecret({ a: "key s3cret", b: ["x", "s3cret"], c: "fine" }, "s3cret")).toEqual({ c: "fine" });
    expect(withoutSecret({ a: "x" }, "")).toEqual({ a: "x" });
  });
});
