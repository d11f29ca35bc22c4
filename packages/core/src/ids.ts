/**
 * Ids are `<prefix>_<rest>`; prefixes are those of the public API where it has one. The core never makes ids: they
 * come in from outside, so that the same inputs always give the same outputs.
 */

/** Every prefix the platform uses, by what it names. */
export const idPrefixes = {
  agent: "agent",
  environment: "env",
  session: "sesn",
  event: "sevt",
  hand: "hand",
  vault: "vlt",
  credential: "vcrd",
  resource: "sesrsc",
  file: "file",
  memoryStore: "memstore",
  thread: "sthr",
  workspace: "wrkspc",
} as const;

/** What an id can name. */
export type IdKind = keyof typeof idPrefixes;

const token = /^[A-Za-z0-9_-]{1,64}$/;

/** True when `id` may stand in a bus subject and a URL path: 1 to 64 of `A-Z a-z 0-9 _ -`. */
export function isSafeToken(id: string): boolean {
  return token.test(id);
}

/** True when `id` has the prefix of `kind`, something behind it, and is a safe token. */
export function isId(kind: IdKind, id: string): boolean {
  const prefix = `${idPrefixes[kind]}_`;
  return id.length > prefix.length && id.startsWith(prefix) && isSafeToken(id);
}
