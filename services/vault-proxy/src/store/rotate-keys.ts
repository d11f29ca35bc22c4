/**
 * Sealing everything anew with the current key-encryption key while sessions go on.
 *
 * K1 each document is replaced by compare-and-swap on its own: whoever changed it meanwhile wins, and it is looked at
 * again. K2 what is done stays done, so a run after a crash goes on where the last one ended. K3 what does not open is
 * counted and left as it is. K4 a value is sealed anew under a new data key, never re-wrapped.
 */
import { type Envelope, type KeyEncryptionKey, open, SealError, seal } from "../crypto/envelope.ts";
import { type Reseal, resealTokens, type SessionDocument } from "./binding-store.ts";
import { type DerivedDocument, resealDerived } from "./derived-token-store.ts";
import type { SecretDocument } from "./documents.ts";
import { decodeJson, encodeJson } from "./json.ts";
import type { Buckets, Kv } from "./kv.ts";

/** What was found and done. */
export type Rotation = {
  readonly resealed: number;
  readonly unreadable: number;
  /** Values by the key that they are sealed with now. */
  readonly sealedWith: ReadonlyMap<string, number>;
};

type Counts = { resealed: number; unreadable: number; readonly sealedWith: Map<string, number> };
type Options = { readonly verifyOnly: boolean; readonly signal: AbortSignal };

const ATTEMPTS = 8;

/** Goes through all sealed values. Ends early, with an error, only when the signal aborts or the store fails. */
export async function rotateKeys(
  buckets: Pick<Buckets, "secrets" | "sessions">,
  kek: KeyEncryptionKey,
  { verifyOnly, signal }: Options,
): Promise<Rotation> {
  const total: Counts = { resealed: 0, unreadable: 0, sealedWith: new Map() };
  for (const key of await buckets.secrets.keys("")) {
    signal.throwIfAborted();
    await rotateOne(buckets.secrets, key, total, kek, verifyOnly, (bytes, reseal) => resealSecret(key, bytes, reseal));
  }
  for (const key of await buckets.sessions.keys("")) {
    signal.throwIfAborted();
    await rotateOne(buckets.sessions, key, total, kek, verifyOnly, (bytes, reseal) =>
      resealTokens(key, decodeJson<SessionDocument>(bytes), reseal),
    );
  }
  return total;
}

async function rotateOne(
  kv: Kv,
  key: string,
  total: Counts,
  kek: KeyEncryptionKey,
  verifyOnly: boolean,
  change: (bytes: Uint8Array, reseal: Reseal) => object,
): Promise<void> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const entry = await kv.get(key);
    if (!entry) return;
    const counts: Counts = { resealed: 0, unreadable: 0, sealedWith: new Map() };
    const next = change(entry.value, resealer(kek, verifyOnly, counts));
    const isStored = counts.resealed === 0 || (await kv.update(key, encodeJson(next), entry.revision)) !== undefined;
    if (!isStored) continue;
    total.resealed += counts.resealed;
    total.unreadable += counts.unreadable;
    for (const [id, count] of counts.sealedWith) total.sealedWith.set(id, (total.sealedWith.get(id) ?? 0) + count);
    return;
  }
  throw new Error(`${key} is changed by others all the time; run the rotation again`);
}

function resealer(kek: KeyEncryptionKey, verifyOnly: boolean, counts: Counts): Reseal {
  const note = (id: string) => counts.sealedWith.set(id, (counts.sealedWith.get(id) ?? 0) + 1);
  return (context, envelope) => {
    try {
      const value = open(kek, context, envelope);
      if (verifyOnly || envelope.kek === kek.id) {
        note(envelope.kek);
        return envelope;
      }
      counts.resealed += 1;
      note(kek.id);
      return seal(kek, context, value);
    } catch (error) {
      if (!(error instanceof SealError)) throw error;
      counts.unreadable += 1;
      note(envelope.kek);
      return envelope;
    }
  };
}

/** The secrets bucket: versions of credentials and model keys, derived tokens, and the platform's own keys. */
function resealSecret(key: string, bytes: Uint8Array, reseal: Reseal): object {
  const [kind = "", workspace = "", vault = "", credential = "", version = ""] = key.split(".");
  if (kind === "secret") {
    const { fields } = decodeJson<SecretDocument>(bytes);
    const sealed = Object.entries(fields).map(([field, envelope]) => {
      return [field, reseal({ workspace, vault, credential, version, field }, envelope)] as const;
    });
    return { fields: Object.fromEntries(sealed) };
  }
  if (kind === "derived") return resealDerived(workspace, decodeJson<DerivedDocument>(bytes), reseal);
  const context = { workspace: kind, vault: kind, credential: workspace, version: vault, field: "key" };
  const own = decodeJson<Envelope | { readonly key: Envelope }>(bytes);
  return "key" in own ? { ...own, key: reseal(context, own.key) } : reseal(context, own);
}
