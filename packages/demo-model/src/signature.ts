import { createHash } from "node:crypto";

/**
 * Signatures of thinking blocks. The server keeps nothing between requests, so the signature itself says what was
 * signed: `mhdemo1.<hash of the thinking>.<seal of that hash>`, in base64. This is a test instrument, not a secret.
 */
const PREFIX = "mhdemo1";

/** The signature of a thinking text; the same text always gets the same one. */
export function signThinking(thinking: string): string {
  const hash = digest(thinking);
  return Buffer.from(`${PREFIX}.${hash}.${seal(hash)}`).toString("base64");
}

/** Whether the block came from this kind of server and is unmodified. An empty text passes: it was sent omitted. */
export function isUnmodifiedThinking(thinking: string, signature: string): boolean {
  const [prefix, hash, sealed, ...rest] = Buffer.from(signature, "base64").toString("utf8").split(".");
  if (prefix !== PREFIX || hash === undefined || sealed !== seal(hash) || rest.length > 0) return false;
  return thinking === "" || digest(thinking) === hash;
}

/** A short stable hash, in hexadecimal, used for every id this server makes. */
export function digest(value: string, length = 32): string {
  return createHash("sha256").update(value).digest("hex").slice(0, length);
}

function seal(hash: string): string {
  return digest(`thinking signature of the demo model ${hash}`);
}
