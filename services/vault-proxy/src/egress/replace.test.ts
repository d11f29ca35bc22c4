import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { Secret } from "@manyhands/kit";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Replacement, replaceInStream, replaceInText } from "./replace.ts";
import { createSwap } from "./swap.ts";

const replacements = (...pairs: [string, string][]): Replacement[] =>
  pairs.map(([from, to]) => ({ from: Buffer.from(from), to: Buffer.from(to) }));

async function stream(parts: readonly string[], pairs: readonly Replacement[]): Promise<string> {
  const chunks = parts.filter((part) => part !== "").map((part) => Buffer.from(part));
  return (await buffer(Readable.from(chunks).pipe(replaceInStream(pairs)))).toString();
}

describe("replacing in a stream", () => {
  it("finds what is split over chunks, and the longer of two at one place", async () => {
    const pairs = replacements(["secret", "S"], ["secretly", "L"]);
    expect(await stream(["a sec", "re", "t and secr", "etly; secretl", "x"], pairs)).toBe("a S and L; Slx");
    expect(await stream(["secret"], pairs)).toBe("S");
    expect(await stream(["secr"], pairs)).toBe("secr");
  });

  it("gives the same for every way to cut the same bytes", async () => {
    const alphabet = fc.string({ unit: fc.constantFrom("a", "b", "c"), maxLength: 40 });
    const pairs = replacements(["abab", "X"], ["aba", "YY"], ["cc", ""]);
    await fc.assert(
      fc.asyncProperty(fc.array(alphabet, { maxLength: 6 }), async (parts) => {
        expect(await stream(parts, pairs)).toBe(replaceInText(parts.join(""), pairs));
      }),
      { numRuns: 300 },
    );
  });

  it("gives the same for one long piece as for many short ones", async () => {
    const letters = fc.string({ unit: fc.constantFrom("a", "b", "c"), minLength: 5000, maxLength: 9000 });
    const pairs = replacements(["abcabcab", "X"], ["abcabcabcc", "YY"], ["ccccbbbb", ""], ["cba".repeat(90), "Z"]);
    await fc.assert(
      fc.asyncProperty(letters, fc.nat(4000), async (noise, at) => {
        const text = `${noise.slice(0, at)}${"cba".repeat(91)}${noise.slice(at)}`;
        const short = text.match(/.{1,700}/g) ?? [];
        const whole = await stream([text], pairs);
        expect(whole).toContain("Z");
        expect(whole).toBe(await stream(short, pairs));
      }),
      { numRuns: 60 },
    );
  });

  it("holds back nothing that cannot be the beginning of a secret", async () => {
    const transform = replaceInStream(replacements(["secret", "S"]));
    transform.write(Buffer.from("data: 1\n\nse"));
    expect(transform.read()?.toString()).toBe("data: 1\n\n");
    transform.destroy();
  });
});

describe("swapping", () => {
  const value = "s3cr3t/value+with=signs&more";
  const swap = createSwap([
    { id: "vcrd_1", placeholder: "mhph_one", value: new Secret(value), header: true, body: true },
  ]);

  it("puts the secret into headers, Basic credentials included, and says which", () => {
    const basic = `Basic ${Buffer.from("user:mhph_one").toString("base64")}`;
    const out = swap?.outgoing({ authorization: basic, "x-key": "k mhph_one", accept: "*/*" });
    expect(out?.headers.authorization).toBe(`Basic ${Buffer.from(`user:${value}`).toString("base64")}`);
    expect(out?.headers["x-key"]).toBe(`k ${value}`);
    expect([...(out?.used ?? [])]).toEqual(["vcrd_1"]);
    expect(swap?.outgoing({ accept: "*/*" }).used.size).toBe(0);
  });

  it("keeps to the places a credential allows", async () => {
    const only = createSwap([
      { id: "c", placeholder: "mhph_one", value: new Secret(value), header: false, body: true },
    ]);
    const out = only?.outgoing({ "x-key": "mhph_one", "content-length": "8" });
    expect(out?.headers["x-key"]).toBe("mhph_one");
    expect(out?.headers["content-length"]).toBeUndefined();
    const [body] = out?.body ?? [];
    expect(body && (await buffer(Readable.from([Buffer.from("mhph_one")]).pipe(body))).toString()).toBe(value);
  });

  it.each([
    ["as it is", (text: string) => text],
    ["base64", (text: string) => Buffer.from(text).toString("base64")],
    ["base64 after one byte", (text: string) => Buffer.from(`x${text}`).toString("base64")],
    ["base64 after two bytes", (text: string) => Buffer.from(`xy${text}`).toString("base64")],
    ["base64url", (text: string) => Buffer.from(text).toString("base64url")],
    ["hex", (text: string) => Buffer.from(text).toString("hex")],
    ["percent-encoded", (text: string) => encodeURIComponent(text)],
    ["JSON", (text: string) => JSON.stringify({ text })],
    ["JSON of escapes alone", (text: string) => escaped(text)],
    ["backwards", (text: string) => [...text].toReversed().join("")],
  ])("takes the secret out of answers that echo it %s", async (_, spell) => {
    const echoed = spell(value);
    const back = await swap?.incoming({ "x-echo": echoed, "content-length": "1" }, new Set());
    const text = `${back?.scrub.next(Buffer.from(`<${echoed}>`))}${back?.scrub.end()}`;
    for (const answer of [text, String(back?.headers["x-echo"])]) {
      expect(answer).toContain("mhph_one");
      // Of base64 at most the few characters that the secret shares with its neighbours are left.
      expect(answer).not.toContain(echoed.slice(6, -6));
    }
  });
});

const escaped = (text: string) =>
  [...text].map((one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, "0")}`).join("");
