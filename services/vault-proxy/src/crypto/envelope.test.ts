import { Secret } from "@manyhands/kit";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  associatedData,
  type Envelope,
  type KeyEncryptionKey,
  keyEncryptionKey,
  open,
  type SealContext,
  SealError,
  seal,
} from "./envelope.ts";

const kek = keyEncryptionKey(new Uint8Array(32).fill(7));
const context: SealContext = {
  workspace: "wrkspc_a",
  vault: "vlt_b",
  credential: "vcrd_c",
  version: "1",
  field: "token",
};
/** 0, 1, 2 … so that the vector is fixed. */
const counting = () => {
  let next = 0;
  return (length: number) => Uint8Array.from({ length }, () => next++ & 0xff);
};

describe("envelope", () => {
  it("opens what it sealed, and never shows it when printed", () => {
    const envelope = seal(kek, context, new Secret("the value ✓"));
    const opened = open(kek, context, envelope);
    expect(opened.reveal()).toBe("the value ✓");
    expect(`${opened} ${JSON.stringify({ opened })}`).not.toContain("the value");
    expect(JSON.stringify(envelope)).not.toContain(Buffer.from("the value").toString("base64").slice(0, 8));
  });

  it("has this form for ever", () => {
    expect(kek.id).toBe("kek_87930405fcd9f757");
    expect(associatedData({ ...context, field: "é" }, "k").toString("hex")).toBe(
      "0000000276310000000877726b7370635f6100000005766c745f620000000676637264" + "5f63000000013100000002c3a9000000016b",
    );
    const stored = seal(kek, context, new Secret("fixed"), counting());
    expect(stored).toEqual(VECTOR);
    expect(open(kek, context, VECTOR).reveal()).toBe("fixed");
  });

  it("uses fresh keys and nonces each time", () => {
    const many = Array.from({ length: 200 }, () => seal(kek, context, new Secret("same")));
    const nonceOf = (text: string) => Buffer.from(text, "base64").subarray(0, 12).toString("hex");
    const nonces = many.flatMap(({ sealed, wrapped }) => [nonceOf(sealed), nonceOf(wrapped)]);
    expect(new Set(nonces).size).toBe(400);
    expect(new Set(many.map(({ sealed }) => sealed)).size).toBe(200);
  });

  it.each(["workspace", "vault", "credential", "version", "field"] as const)(
    "does not open under another %s",
    (part) => {
      const envelope = seal(kek, context, new Secret("value"));
      expect(() => open(kek, { ...context, [part]: "other" }, envelope)).toThrow(SealError);
    },
  );

  it("does not let text move between neighbouring parts", () => {
    const envelope = seal(kek, { ...context, workspace: "ab", vault: "c" }, new Secret("value"));
    expect(() => open(kek, { ...context, workspace: "a", vault: "bc" }, envelope)).toThrow(SealError);
  });

  it("does not open with another key, and names the key that is wanted", () => {
    const other = keyEncryptionKey(new Uint8Array(32).fill(8));
    const envelope = seal(kek, context, new Secret("value"));
    expect(() => open(other, context, envelope)).toThrow(kek.id);
    const forged: KeyEncryptionKey = { id: kek.id, bytes: other.bytes };
    expect(() => open(forged, context, envelope)).toThrow(SealError);
  });

  it("does not open with the parts of two envelopes mixed", () => {
    const a = seal(kek, context, new Secret("a"));
    const b = seal(kek, context, new Secret("b"));
    expect(() => open(kek, context, { ...a, sealed: b.sealed })).toThrow(SealError);
    expect(() => open(kek, context, { ...a, wrapped: b.wrapped })).toThrow(SealError);
  });

  it("notices every flipped bit and every truncation", () => {
    const envelope = seal(kek, context, new Secret("some value"));
    fc.assert(
      fc.property(fc.constantFrom("wrapped", "sealed"), fc.nat(), fc.boolean(), (part, at, cut) => {
        const data = Buffer.from(envelope[part], "base64");
        const position = at % (data.byteLength * 8);
        const damaged = cut ? data.subarray(0, at % data.byteLength) : Buffer.from(data);
        if (!cut) {
          damaged[position >> 3] = (damaged[position >> 3] ?? 0) ^ (1 << (position & 7));
        }
        const changed: Envelope = { ...envelope, [part]: damaged.toString("base64") };
        expect(() => open(kek, context, changed)).toThrow(SealError);
      }),
    );
  });

  it("tells nothing about the value when it fails", () => {
    const envelope = seal(kek, context, new Secret("canary-value"));
    const failure = (() => {
      try {
        return open(kek, { ...context, field: "x" }, envelope);
      } catch (error) {
        return error;
      }
    })();
    expect(failure).toBeInstanceOf(SealError);
    expect(failure instanceof Error && failure.cause).toBe(undefined);
  });

  it("takes keys of 32 bytes only", () => {
    expect(() => keyEncryptionKey(new Uint8Array(31))).toThrow(RangeError);
  });
});

const VECTOR: Envelope = {
  v: 1,
  kek: "kek_87930405fcd9f757",
  wrapped: "LC0uLzAxMjM0NTY3AX1RVdVnShiskC4uhorX4r+ur1ChCUGgYTCzDoaVOSB23zLeqU6DGoofrxhXD9Hi",
  sealed: "ICEiIyQlJicoKSortFPeFQgdPHyo27g8Pn+FsMmKtNaV",
};
