/** Tokens of claims: they name their item, so that nothing has to be looked for, and are stored as a hash alone. */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";

const TOKEN = /^sk-ant-req-(work_\d{1,9}_[A-Za-z0-9_-]{1,128})\.[A-Za-z0-9_-]{43}$/;

/** A new token for an item. */
export function newWorkToken(workId: string): string {
  return `sk-ant-req-${workId}.${randomBytes(32).toString("base64url")}`;
}

/** The item that a token names; undefined when it is no such token. Proves nothing. */
export function workIdOfToken(token: string): string | undefined {
  return TOKEN.exec(token)?.[1];
}

/** What is stored of a token: 256 random bits need no more than a plain hash. */
export function hashOfToken(token: string): string {
  return createHash("sha256").update(token).digest("hex");
}

/** True when a token has this hash. */
export function isToken(token: string, hash: string): boolean {
  const own = Buffer.from(hashOfToken(token));
  const other = Buffer.from(hash);
  return own.length === other.length && timingSafeEqual(own, other);
}
