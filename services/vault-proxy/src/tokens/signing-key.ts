import { randomBytes } from "node:crypto";
import { AppError, Secret } from "@manyhands/kit";
import { type Envelope, type KeyEncryptionKey, open, type SealContext, SealError, seal } from "../crypto/envelope.ts";
import { decodeJson, encodeJson } from "../store/json.ts";
import type { Kv } from "../store/kv.ts";
import type { SigningKey } from "./session-tokens.ts";

const KEY = "platform.token-signing.1";
const CONTEXT: SealContext = {
  workspace: "platform",
  vault: "platform",
  credential: "token-signing",
  version: "1",
  field: "key",
};

/**
 * The signing key that all replicas share: made once by whichever replica comes first, stored sealed. It is also what
 * proves at start that the key file fits the store: a wrong one ends the start with a message that says so.
 */
export async function loadSigningKey(secrets: Kv, kek: KeyEncryptionKey): Promise<SigningKey> {
  const fresh = seal(kek, CONTEXT, new Secret(randomBytes(32).toString("base64")));
  await secrets.create(KEY, encodeJson(fresh));
  const stored = await secrets.get(KEY);
  if (!stored) {
    throw AppError.unavailable("SIGNING_KEY_MISSING", "the token signing key was just stored and cannot be read back");
  }
  try {
    return { id: "1", secret: open(kek, CONTEXT, decodeJson<Envelope>(stored.value)) };
  } catch (error) {
    const wanted = error instanceof SealError ? error.kek : "another key";
    throw new Error(
      `the key file does not fit the stored secrets: they were sealed with ${wanted}, the file holds ${kek.id}. ` +
        "Put the right key into MH_VAULT_KEY_FILE; nothing was changed.",
      { cause: error },
    );
  }
}
