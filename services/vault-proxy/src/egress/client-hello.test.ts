import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { realHello, withHiddenName } from "../testing/client-hello.ts";
import { readClientHello } from "./client-hello.ts";

/** The same handshake in records of `size` bytes, as a client that hides from filters would send it. */
function fragmented(hello: Buffer, size: number): Buffer {
  const handshake = hello.subarray(5);
  const records: Buffer[] = [];
  for (let at = 0; at < handshake.length; at += size) {
    const part = handshake.subarray(at, at + size);
    records.push(Buffer.from([0x16, 3, 1, part.length >> 8, part.length & 255]), part);
  }
  return Buffer.concat(records);
}

describe("a ClientHello", () => {
  it("names its host, whole, byte by byte and in many records", async () => {
    const hello = await realHello("api.example.com");
    expect(readClientHello(hello)).toEqual({ kind: "tls", serverName: "api.example.com", encrypted: false });
    for (let length = 0; length < hello.length; length += 1) {
      expect(readClientHello(hello.subarray(0, length)).kind).toBe("incomplete");
    }
    expect(readClientHello(fragmented(hello, 7))).toMatchObject({ serverName: "api.example.com" });
  });

  it("without a name has none", async () => {
    expect(readClientHello(await realHello(undefined))).toMatchObject({ kind: "tls", serverName: undefined });
  });

  it("says when it may hide another name", async () => {
    const hello = withHiddenName(await realHello("api.example.com"));
    expect(readClientHello(hello)).toEqual({ kind: "tls", serverName: "api.example.com", encrypted: true });
  });

  it("is told from other protocols and from damage", async () => {
    expect(readClientHello(Buffer.from("GET / HTTP/1.1\r\n")).kind).toBe("other");
    expect(readClientHello(Buffer.from([0x16, 9, 9, 0, 4, 1, 0, 0, 0])).kind).toBe("malformed");
    expect(readClientHello(Buffer.from([0x16, 3, 1, 0, 4, 2, 0, 0, 0])).kind).toBe("malformed");
    const hello = await realHello("api.example.com");
    const at = hello.indexOf("api.example.com");
    hello.writeUInt16BE(60_000, at - 2);
    expect(readClientHello(hello).kind).toBe("malformed");
  });

  it("never makes the reader fail, whatever the bytes", async () => {
    const hello = await realHello("api.example.com");
    fc.assert(
      fc.property(fc.nat(hello.length - 1), fc.nat(255), (index, value) => {
        const changed = Buffer.from(hello);
        changed[index] = value;
        expect(readClientHello(changed).kind).toMatch(/^(tls|other|malformed|incomplete)$/);
      }),
      { numRuns: 500 },
    );
  });
});
