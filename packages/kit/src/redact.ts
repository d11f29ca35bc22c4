import { REDACTED, Secret } from "./secret.ts";

/** Keys whose value is never printed, compared in lower case with `-` and `_` removed. */
const SECRET_KEYS = new Set([
  "authorization",
  "proxyauthorization",
  "cookie",
  "setcookie",
  "xapikey",
  "apikey",
  "password",
  "passphrase",
  "secret",
  "clientsecret",
  "token",
  "accesstoken",
  "refreshtoken",
  "sessiontoken",
  "privatekey",
  "credential",
  "keyencryptionkey",
  "kek",
]);

/** Shapes that are secret wherever they stand. Each keeps enough of the text to see what was removed. */
const SECRET_SHAPES: readonly [RegExp, string][] = [
  [/\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}/gi, `$1 ${REDACTED}`],
  [
    /\b(authorization|proxy-authorization|x-api-key|cookie)(["']?\s*[:=]\s*["']?)(?!\[redacted\]|(?:bearer|basic)\s)[^\s"',;]{4,}/gi,
    `$1$2${REDACTED}`,
  ],
  [/\bsk-[A-Za-z0-9_-]{6,}/g, REDACTED],
  [/\b(?:ghp|gho|ghu|ghs|ghr|github_pat|glpat|xox[abprs])[-_][A-Za-z0-9_-]{10,}/g, REDACTED],
  [/\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*/g, REDACTED],
  [/([a-z][a-z0-9+.-]*:\/\/)[^\s/@"']+@/gi, `$1${REDACTED}@`],
  [/-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)/g, REDACTED],
];

const MAX_DEPTH = 8;
const MAX_ENTRIES = 200;
const MAX_TEXT = 16_384;
const MAX_CAUSES = 5;

/** Removes everything that looks like a secret from a text and bounds its length. */
export function redactText(text: string): string {
  let clean = text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT)}… (${text.length} characters)` : text;
  for (const [shape, replacement] of SECRET_SHAPES) {
    clean = clean.replace(shape, replacement);
  }
  return clean;
}

/** True when a key's value must never be printed, whatever it is. */
export function isSecretKey(key: string): boolean {
  return SECRET_KEYS.has(key.toLowerCase().replaceAll(/[-_]/g, ""));
}

/**
 * A copy of a value that is safe to print: secret keys and secret shapes removed, `Secret` never revealed, errors
 * turned into plain objects with their cause chain, bytes shown as a length, depth and width bounded, cycles cut.
 */
export function redactValue(value: unknown): unknown {
  return copy(value, 0, new Set());
}

/** An error as plain data: type, message, stack, own fields and cause chain (at most 5), all redacted. */
export function serializeError(error: unknown): unknown {
  return redactValue(error);
}

function copy(value: unknown, depth: number, above: Set<object>): unknown {
  if (typeof value === "string") {
    return redactText(value);
  }
  if (typeof value === "bigint") {
    return value.toString();
  }
  if (typeof value === "function" || typeof value === "symbol") {
    return undefined;
  }
  if (typeof value !== "object" || value === null) {
    return value;
  }
  if (value instanceof Secret) {
    return REDACTED;
  }
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) {
    return `[${value.byteLength} bytes]`;
  }
  if (value instanceof Date) {
    return Number.isNaN(value.getTime()) ? "[invalid date]" : value.toISOString();
  }
  if (value instanceof URL) {
    return redactText(value.href);
  }
  if (above.has(value)) {
    return "[circular]";
  }
  if (depth >= MAX_DEPTH) {
    return "[too deep]";
  }
  above.add(value);
  try {
    return copyObject(value, depth, above);
  } finally {
    above.delete(value);
  }
}

function copyObject(value: object, depth: number, above: Set<object>): unknown {
  if (value instanceof Error) {
    return copyError(value, depth, above);
  }
  if (Array.isArray(value)) {
    const items = value.slice(0, MAX_ENTRIES).map((item) => copy(item, depth + 1, above));
    return value.length > MAX_ENTRIES ? [...items, `… ${value.length - MAX_ENTRIES} more`] : items;
  }
  if (value instanceof Map) {
    return copyEntries(
      [...value].map(([key, item]) => [String(key), item]),
      depth,
      above,
    );
  }
  if (value instanceof Set) {
    return copy([...value], depth, above);
  }
  return copyEntries(Object.entries(value), depth, above);
}

function copyEntries(entries: [string, unknown][], depth: number, above: Set<object>): Record<string, unknown> {
  const result: Record<string, unknown> = {};
  for (const [key, item] of entries.slice(0, MAX_ENTRIES)) {
    const hidden = isSecretKey(key) && item !== undefined && item !== null && typeof item !== "boolean";
    result[redactText(key)] = hidden ? REDACTED : copy(item, depth + 1, above);
  }
  if (entries.length > MAX_ENTRIES) {
    result["…"] = `${entries.length - MAX_ENTRIES} more`;
  }
  return result;
}

function copyError(error: Error, depth: number, above: Set<object>): Record<string, unknown> {
  const own = Object.entries(error).filter(([key]) => !["name", "message", "stack", "cause"].includes(key));
  const fields = copyEntries(own, depth, above);
  const causes = [...above].filter((parent) => parent instanceof Error).length;
  return {
    type: error.name,
    message: redactText(error.message),
    stack: redactText(error.stack ?? ""),
    ...fields,
    ...(error.cause === undefined
      ? {}
      : { cause: causes > MAX_CAUSES ? "[more causes]" : copy(error.cause, depth, above) }),
  };
}
