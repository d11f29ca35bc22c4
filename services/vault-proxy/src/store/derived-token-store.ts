/**
 * Tokens that APIs made from credentials in exchanges of a session's hands. The hand holds a placeholder; what it stands
 * for is kept here, sealed, one document per session.
 *
 * D1 a token is stored before its placeholder is shown to anybody, so that it works on every replica and after a
 * restart. D2 it is sealed for its session, its placeholder and the credentials it came from. D3 a session keeps at most
 * so many, for so long; the oldest goes first, and its placeholder is worth nothing then. D4 the end of the session
 * purges them.
 */
import type { Clock, Secret } from "@manyhands/kit";
import { type Envelope, type KeyEncryptionKey, open, seal } from "../crypto/envelope.ts";
import type { Reseal } from "./binding-store.ts";
import { compareAndSwap } from "./compare-and-swap.ts";
import { storeKeys } from "./documents.ts";
import { decodeJson } from "./json.ts";
import type { Kv } from "./kv.ts";

/** A token and what it came from: it may go only where each of these credentials may. */
export type DerivedToken = {
  readonly placeholder: string;
  readonly value: Secret;
  readonly credentials: readonly string[];
};

/** Derived tokens by session. */
export type DerivedTokenStore = {
  /** Those that are not too old, oldest first. */
  list(session: string, workspace: string): Promise<readonly DerivedToken[]>;
  /** Keeps one; kept again it is as if new, and may go only where both exchanges' credentials may. */
  keep(session: string, workspace: string, token: DerivedToken): Promise<void>;
  purge(session: string): Promise<void>;
};

/** Bounds of one session's tokens. */
export const DERIVED_LIMITS = {
  tokens: 32,
  /** Characters of one token. */
  tokenChars: 16 * 1024,
  /** Characters of all of them; their sealed form has to fit one document. */
  allChars: 192 * 1024,
  keptMs: 24 * 3_600_000,
} as const;

type Kept = {
  readonly placeholder: string;
  readonly credentials: readonly string[];
  readonly chars: number;
  readonly until_ms: number;
  readonly value: Envelope;
};
/** What is stored for one session. */
export type DerivedDocument = { readonly workspace: string; readonly tokens: readonly Kept[] };

/** Derived tokens in a bucket. */
export function derivedTokenStore(secrets: Kv, kek: KeyEncryptionKey, clock: Pick<Clock, "nowMs">): DerivedTokenStore {
  return {
    async list(session, workspace) {
      const entry = await secrets.get(storeKeys.derived(session));
      if (!entry) return [];
      const document = decodeJson<DerivedDocument>(entry.value);
      if (document.workspace !== workspace) return [];
      const nowMs = clock.nowMs();
      return document.tokens
        .filter((one) => one.until_ms > nowMs)
        .map(({ placeholder, credentials, value }) => {
          const context = contextOf(session, workspace, placeholder, credentials);
          return { placeholder, credentials, value: open(kek, context, value) };
        });
    },
    async keep(session, workspace, { placeholder, value, credentials }) {
      const nowMs = clock.nowMs();
      const chars = value.reveal().length;
      await compareAndSwap<DerivedDocument>(secrets, storeKeys.derived(session), (current) => {
        const living = current?.workspace === workspace ? current.tokens.filter((one) => one.until_ms > nowMs) : [];
        const known = living.find((one) => one.placeholder === placeholder);
        const sources = [...new Set([...(known?.credentials ?? []), ...credentials])].toSorted();
        const kept: Kept = {
          placeholder,
          credentials: sources,
          chars,
          until_ms: nowMs + DERIVED_LIMITS.keptMs,
          value: seal(kek, contextOf(session, workspace, placeholder, sources), value),
        };
        return { workspace, tokens: newest([...living.filter((one) => one !== known), kept]) };
      });
    },
    purge: (session) => secrets.purge(storeKeys.derived(session)),
  };
}

/** A document with its tokens sealed anew. */
export function resealDerived(session: string, document: DerivedDocument, reseal: Reseal): DerivedDocument {
  const { workspace, tokens } = document;
  return {
    workspace,
    tokens: tokens.map((one) => {
      const context = contextOf(session, workspace, one.placeholder, one.credentials);
      return { ...one, value: reseal(context, one.value) };
    }),
  };
}

/** D2. */
function contextOf(session: string, workspace: string, placeholder: string, credentials: readonly string[]) {
  const field = credentials.join(" ");
  return { workspace, vault: "derived", credential: session, version: placeholder, field };
}

/** D3. */
function newest(tokens: readonly Kept[]): readonly Kept[] {
  let chars = 0;
  const fits = tokens.toReversed().findIndex((one, index) => {
    chars += one.chars;
    return index >= DERIVED_LIMITS.tokens || chars > DERIVED_LIMITS.allChars;
  });
  return fits < 0 ? tokens : tokens.slice(tokens.length - fits);
}
