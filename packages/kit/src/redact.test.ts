import { inspect } from "node:util";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { AppError } from "./errors.ts";
import { createLogger } from "./logger.ts";
import { redactValue } from "./redact.ts";
import { Secret } from "./secret.ts";

const CANARY = "canary0123456789abcdef";

function logged(fields: object, message?: string): string {
  const lines: string[] = [];
  const logger = createLogger({
    service: "test",
    level: "trace",
    destination: { write: (line) => void lines.push(line) },
  });
  logger.info(fields, message);
  logger.child(fields).error(message ?? "from a child");
  return lines.join("");
}

describe("what is logged never holds a secret", () => {
  const planted: readonly [string, object][] = [
    ["a wrapped secret", { key: new Secret(CANARY), deep: { list: [new Secret(CANARY)] } }],
    [
      "an Authorization header",
      { headers: { Authorization: `Bearer ${CANARY}`, "x-api-key": CANARY, cookie: CANARY } },
    ],
    [
      "a secret by its name",
      { password: CANARY, session_token: CANARY, clientSecret: CANARY, api_key: { value: CANARY } },
    ],
    ["a bearer in text", { note: `sent with bearer ${CANARY} to it` }],
    ["a header in text", { note: `GET / HTTP/1.1\r\nAuthorization: Token ${CANARY}`.replace("Token ", "") }],
    ["a basic header", { note: `authorization: Basic ${Buffer.from(CANARY).toString("base64")} ${""}` }],
    ["a model key", { note: `the key sk-ant-api03-${CANARY} is used`, list: [`sk-${CANARY}`] }],
    ["a git token", { url: `ghp_${CANARY}` }],
    [
      "a URL with userinfo",
      { url: `https://x-access-token:${CANARY}@git.example/repo`, parsed: new URL(`http://u:${CANARY}@h/`) },
    ],
    ["a JSON web token", { note: `eyJhbGciOiJIUzI1NiJ9.eyJ${CANARY}.${CANARY}` }],
    ["a private key", { pem: `-----BEGIN PRIVATE KEY-----\n${CANARY}\n-----END PRIVATE KEY-----` }],
    ["a map", { map: new Map([["password", CANARY]]), set: new Set([`Bearer ${CANARY}`]) }],
    ["bytes", { bytes: Buffer.from(CANARY) }],
    ["an error's fields, message and causes", { err: errorWithCanary() }],
  ];

  test.each(planted)("%s", (_name, fields) => {
    const text = logged(fields);
    expect(text).not.toContain(CANARY);
    expect(text).not.toContain(Buffer.from(CANARY).toString("base64"));
    expect(text).toContain('"service":"test"');
  });

  test("nor does a message", () => {
    expect(logged({}, `calling https://user:${CANARY}@host with Bearer ${CANARY}`)).not.toContain(CANARY);
  });

  test("wherever in a structure it is planted", () => {
    const secret = fc.constantFrom<unknown>(
      new Secret(CANARY),
      `Bearer ${CANARY}`,
      `sk-${CANARY}`,
      `http://a:${CANARY}@b`,
    );
    const { tree } = fc.letrec((tie) => ({
      tree: fc.oneof(
        { maxDepth: 6 },
        secret,
        fc.jsonValue(),
        fc.array(tie("tree"), { maxLength: 4 }),
        fc.dictionary(fc.string(), tie("tree"), { maxKeys: 4 }),
      ),
    }));
    fc.assert(
      fc.property(tree, (value) => !JSON.stringify(redactValue({ value })).includes(CANARY)),
      { numRuns: 300 },
    );
  });
});

describe("what is logged stays useful and bounded", () => {
  test("an error keeps type, message, reason, stack and its chain of causes", () => {
    const root = new TypeError("root cause");
    const error = AppError.unavailable("BUS_DOWN", "no bus", new Error("in between", { cause: root }));
    const line = JSON.parse(logged({ err: error }).split("\n")[0] ?? "");
    expect(line.err).toMatchObject({
      type: "AppError",
      kind: "unavailable",
      reason: "BUS_DOWN",
      message: "no bus",
      cause: { message: "in between", cause: { type: "TypeError", message: "root cause" } },
    });
    expect(line.err.stack).toContain("redact.test.ts");
  });

  test("cycles, depth, width and long text are cut", () => {
    const cycle: Record<string, unknown> = { name: "loop", big: 12n, when: new Date(0), wide: Array(1000).fill(1) };
    cycle.self = cycle;
    let deep: object = {};
    for (let level = 0; level < 50; level += 1) {
      deep = { deep };
    }
    const text = JSON.stringify(redactValue({ cycle, deep, long: "x".repeat(1_000_000) }));
    expect(text).toContain("[circular]");
    expect(text).toContain("[too deep]");
    expect(text).toContain("1970-01-01T00:00:00.000Z");
    expect(text.length).toBeLessThan(30_000);
  });

  test("counts and flags with secret-looking names stay readable", () => {
    expect(redactValue({ input_tokens: 12, has_token: true, token: true, tokens: 3 })).toEqual({
      input_tokens: 12,
      has_token: true,
      token: true,
      tokens: 3,
    });
  });
});

describe("Secret", () => {
  test("shows itself to nobody but who asks", () => {
    const secret = new Secret(CANARY);
    const shown = `${secret} ${JSON.stringify({ secret })} ${inspect(secret)} ${inspect({ secret }, { showHidden: true, depth: 9 })}`;
    expect(shown).not.toContain(CANARY);
    expect(secret.reveal()).toBe(CANARY);
  });
});

function errorWithCanary(): Error {
  const cause = Object.assign(new Error(`refused: Authorization: Bearer ${CANARY}`), {
    headers: { authorization: CANARY },
  });
  return AppError.internal(Object.assign(new Error(`https://u:${CANARY}@host failed`, { cause }), { token: CANARY }));
}
