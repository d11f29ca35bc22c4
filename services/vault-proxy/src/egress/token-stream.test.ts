import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Capture, captureInHeader, captureInUrl, tokenStreams } from "./token-stream.ts";

/** Keeps everything; what was kept, and the answer that goes on. */
async function pass(contentType: string, parts: readonly string[], wanted = true) {
  const kept: string[] = [];
  const capture: Capture = {
    wanted: () => wanted,
    keep: async (token) => {
      kept.push(token);
      return `<${kept.length}>`;
    },
  };
  const chunks = parts.filter((part) => part !== "").map((part) => Buffer.from(part));
  let stream: Readable = Readable.from(chunks);
  for (const one of tokenStreams(contentType, capture)) {
    stream.on("error", (error) => one.destroy(error));
    stream = stream.pipe(one);
  }
  return { text: (await buffer(stream)).toString(), kept };
}

const LONG = "eyJhbGciOiJIUzI1NiJ9.x_-1";
const cut = (text: string, at: number) => [text.slice(0, at), text.slice(at)];

describe("tokens in an answer", () => {
  it.each<[string, string, string, string, string[]]>([
    ["JSON", "application/json", '{"access_token":"abc","n":1}', '{"access_token":"<1>","n":1}', ["abc"]],
    [
      "JSON with spaces, at any depth",
      "application/json; charset=utf-8",
      '{"a":[{"refresh_token" :\n "r-1", "id_token": "a.b.c"}]}',
      '{"a":[{"refresh_token" :\n "<1>", "id_token": "<2>"}]}',
      ["r-1", "a.b.c"],
    ],
    [
      "JSON with escapes",
      "application/json",
      '{"access_token":"a\\/b\\u002b\\"c"}',
      '{"access_token":"<1>"}',
      ['a/b+"c'],
    ],
    [
      "the same name twice",
      "application/json",
      '{"id_token":"x","id_token":"y"}',
      '{"id_token":"<1>","id_token":"<2>"}',
      ["x", "y"],
    ],
    [
      "long numbers, which stay exact",
      "application/json",
      '{"id":9007199254740993,"id_token":"x"}',
      '{"id":9007199254740993,"id_token":"<1>"}',
      ["x"],
    ],
    [
      "text that is no ASCII",
      "application/json",
      '{"name":"Zoë","access_token":"ë"}',
      '{"name":"Zoë","access_token":"<1>"}',
      ["ë"],
    ],
    ["events", "text/event-stream", 'data: {"access_token":"abc"}\n\n', 'data: {"access_token":"<1>"}\n\n', ["abc"]],
    [
      "a form",
      "application/x-www-form-urlencoded",
      "access_token=a%2Fb&scope=x&refresh_token=r",
      "access_token=<1>&scope=x&refresh_token=<2>",
      ["a/b", "r"],
    ],
    [
      "JSON inside a text of JSON",
      "application/json",
      String.raw`{"body":"{\"access_token\": \"a\\/b\", \"id_token\":\"x\"}","refresh_token":"r"}`,
      String.raw`{"body":"{\"access_token\": \"<1>\", \"id_token\":\"<2>\"}","refresh_token":"<3>"}`,
      ["a/b", "x", "r"],
    ],
    [
      "JSON in JSON in JSON",
      "application/json",
      JSON.stringify({ a: JSON.stringify({ b: JSON.stringify({ access_token: "abc", api_key: LONG }) }) }),
      JSON.stringify({ a: JSON.stringify({ b: JSON.stringify({ access_token: "<1>", api_key: "<2>" }) }) }),
      ["abc", LONG],
    ],
    [
      "JSON with other names, and other ways to write them",
      "application/vnd.api+json",
      `{"Token":"${LONG}","accessToken":"abc","session-token":"${LONG}1","client_secret":"\\u0061${LONG}","jwt":"a.b.${LONG}"}`,
      '{"Token":"<1>","accessToken":"<2>","session-token":"<3>","client_secret":"<4>","jwt":"<5>"}',
      [LONG, "abc", `${LONG}1`, `a${LONG}`, `a.b.${LONG}`],
    ],
    [
      "XML",
      "text/xml",
      `<R><AccessKeyId>AKIA</AccessKeyId><SecretAccessKey>${LONG}/+</SecretAccessKey>\n<s:SessionToken> ${LONG}= </s:SessionToken></R>`,
      "<R><AccessKeyId>AKIA</AccessKeyId><SecretAccessKey><1></SecretAccessKey>\n<s:SessionToken> <2> </s:SessionToken></R>",
      [`${LONG}/+`, `${LONG}=`],
    ],
    ["a form called text", "text/plain", "a=1&access_token=abc\n", "a=1&access_token=<1>\n", ["abc"]],
    ["JSON called HTML", "text/html", '{"access_token":"abc"}', '{"access_token":"<1>"}', ["abc"]],
    ["JSON called nothing", "", '{"access_token":"abc"}', '{"access_token":"<1>"}', ["abc"]],
  ])("are found in %s, however it is cut", async (_, contentType, text, expected, tokens) => {
    for (let at = 0; at <= text.length; at += 1) {
      expect(await pass(contentType, cut(text, at))).toEqual({ text: expected, kept: tokens });
    }
    expect(await pass(contentType, [...text])).toEqual({ text: expected, kept: tokens });
  });

  it.each([
    ["application/json", '{"access_token":"","refresh_token":null,"id_tokens":"x","token":"y","my_access_token":"z"}'],
    ["application/json", '"access_token"'],
    ["application/json", '{"token":"of my affection for you, and more","api_key":"sk-...abcd","jwt":{"token":1}}'],
    ["application/json", '{"next_token":"eyJhbGciOiJIUzI1NiJ9","nextToken":"eyJhbGciOiJIUzI1NiJ9","tokens":"x"}'],
    ["application/json", String.raw`{"body":"{\"access_token\":\"\",\"token\": \"no\"}"}`],
    ["application/x-www-form-urlencoded", "token=eyJhbGciOiJIUzI1NiJ9&api_key=eyJhbGciOiJIUzI1NiJ9"],
    ["text/html", '<a href="/f?token=eyJhbGciOiJIUzI1NiJ9">x</a> 1 < 2 <Token>short</Token>'],
    ["application/xml", "<AccessToken></AccessToken><Token><Value>eyJhbGciOiJIUzI1NiJ9</Value></Token>"],
    ["application/json", '{"access_token":"never ended'],
    ["application/x-www-form-urlencoded", "x_access_token=1&access_token=&access_tokens=2&id_token"],
    ["application/octet-stream", '{"access_token":"abc"}'],
    ["image/png", '{"access_token":"abc"}'],
  ])("are not seen where there are none: %s %s", async (contentType, text) => {
    for (let at = 0; at <= text.length; at += 1) {
      expect(await pass(contentType, cut(text, at))).toEqual({ text, kept: [] });
    }
  });

  it("of a request without a credential are the hand's own", async () => {
    const text = `{"access_token":"abc","id_token":"${"x".repeat(100_000)}"}`;
    expect(await pass("application/json", cut(text, 70_000), false)).toEqual({ text, kept: [] });
  });

  it("are found in the middle of much else, however it is cut", async () => {
    const filler = JSON.stringify({ words: "no more than words ".repeat(400) });
    const text = `[${filler},{"accessToken":"abc"},${filler},{"API_KEY":"${LONG}"}]`;
    const expected = `[${filler},{"accessToken":"<1>"},${filler},{"API_KEY":"<2>"}]`;
    for (let at = filler.length; at < filler.length + 30; at += 1) {
      expect(await pass("application/json", cut(text, at))).toEqual({ text: expected, kept: ["abc", LONG] });
    }
  });

  it("may be of any length where the name says little", async () => {
    const text = `{"token":"${"x".repeat(100_000)}"}`;
    expect(await pass("application/json", cut(text, 60_000))).toEqual({ text, kept: [] });
  });

  it("are found in headers that carry them", async () => {
    const capture: Capture = { wanted: () => true, keep: async (token) => `<${token}>` };
    expect(await captureInHeader("authorization", `Bearer ${LONG}`, capture)).toBe(`Bearer <${LONG}>`);
    expect(await captureInHeader("x-subject-token", LONG, capture)).toBe(`<${LONG}>`);
    expect(await captureInHeader("x-request-id", LONG, capture)).toBe(LONG);
    expect(await captureInHeader("authorization", "Basic none", capture)).toBe("Basic none");
    expect(await captureInHeader("x-auth-token", LONG, { ...capture, wanted: () => false })).toBe(LONG);
  });

  it("that are too long end the answer", async () => {
    const text = `{"access_token":"${"x".repeat(100_000)}"}`;
    await expect(pass("application/json", [text])).rejects.toThrow("token of more than");
    await expect(pass("application/json", cut(text, 60_000))).rejects.toThrow("token of more than");
  });

  it("hold back nothing that cannot be the beginning of one", () => {
    const [stream] = tokenStreams("application/json", { wanted: () => true, keep: async () => "" });
    const { promise, resolve } = Promise.withResolvers<string>();
    stream?.once("data", (chunk: Buffer) => resolve(chunk.toString()));
    stream?.write('{"a": "b", "access_tok');
    return expect(promise).resolves.toBe('{"a": "b", ');
  });

  it("leave any other text as it is", async () => {
    const piece = fc.constantFrom('"', "\\", "access_token", "=", "&", ":", " ", "x", "é", "id_token", "\n");
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.array(piece).map((parts) => parts.join("")),
          { maxLength: 5 },
        ),
        async (parts) => {
          expect((await pass("text/plain", parts, false)).text).toBe(parts.join(""));
        },
      ),
      { numRuns: 300 },
    );
  });

  it("are found in a URL's query and fragment", async () => {
    const capture: Capture = { wanted: () => true, keep: async (token) => `<${token}>` };
    const url = "https://app.example/cb?code=1#access_token=abc&state=2&id_token=d";
    expect(await captureInUrl(url, capture)).toBe(
      "https://app.example/cb?code=1#access_token=<abc>&state=2&id_token=<d>",
    );
    expect(await captureInUrl("/next", capture)).toBe("/next");
  });
});
