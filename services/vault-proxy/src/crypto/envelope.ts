/**
 * Envelope encryption of one secret value. Pure apart from the random bytes of a new seal.
 *
 * E1 each seal has a fresh 256-bit data key and fresh 96-bit nonces; nothing is ever re-sealed under an old data key.
 * E2 the data key is wrapped by a key-encryption key whose id is stored beside it.
 * E3 both layers authenticate where the value belongs, so a ciphertext moved to another row, version, field or
 *    workspace does not open.
 */
import { createCipheriv, createDecipheriv, createHash, randomBytes } from "node:crypto";
import { Secret } from "@manyhands/kit";

/** Where a value belongs; every part is authenticated. */
export type SealContext = {
  readonly workspace: string;
  readonly vault: string;
  readonly credential: string;
  readonly version: string;
  readonly field: string;
};

/** What is stored: base64 texts. `wrapped` and `sealed` are nonce | ciphertext | tag. */
export type Envelope = {
  readonly v: 1;
  readonly kek: string;
  readonly wrapped: string;
  readonly sealed: string;
};

/** A key that only wraps data keys. */
export type KeyEncryptionKey = {
  readonly id: string;
  readonly bytes: Uint8Array;
  /** Keys that only open what was sealed with them: those before it, or the next one. */
  readonly older?: readonly KeyEncryptionKey[];
};

/** Random bytes; replaced only where a test needs a fixed vector. */
export type RandomBytes = (length: number) => Uint8Array;

/** The value does not open: wrong key, moved or altered. Says which key was wanted, nothing else. */
export class SealError extends Error {
  readonly kek: string;
  constructor(message: string, kek: string) {
    super(message);
    this.name = "SealError";
    this.kek = kek;
  }
}

const ALGORITHM = "aes-256-gcm";
export const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const MAX_SEALED_TEXT = 2 * 1024 * 1024;

/** A key-encryption key from its 32 bytes. Its id is a digest of the key, so that a wrong key is noticed by name. */
export function keyEncryptionKey(bytes: Uint8Array): KeyEncryptionKey {
  if (bytes.byteLength !== KEY_BYTES) {
    throw new RangeError(`a key-encryption key has ${KEY_BYTES} bytes, got ${bytes.byteLength}`);
  }
  const digest = createHash("sha256").update("manyhands key-encryption key id v1\0").update(bytes).digest("hex");
  return { id: `kek_${digest.slice(0, 16)}`, bytes };
}

/** Seals a value for exactly one place. */
export function seal(
  kek: KeyEncryptionKey,
  context: SealContext,
  value: Secret,
  random: RandomBytes = randomBytes,
): Envelope {
  const aad = associatedData(context, kek.id);
  const dataKey = random(KEY_BYTES);
  const sealed = encrypt(dataKey, random(NONCE_BYTES), aad, Buffer.from(value.reveal(), "utf8"));
  const wrapped = encrypt(kek.bytes, random(NONCE_BYTES), aad, dataKey);
  dataKey.fill(0);
  return { v: 1, kek: kek.id, wrapped: wrapped.toString("base64"), sealed: sealed.toString("base64") };
}

/** Opens a value sealed for exactly this place. Throws SealError. */
export function open(keys: KeyEncryptionKey, context: SealContext, envelope: Envelope): Secret {
  const kek = [keys, ...(keys.older ?? [])].find(({ id }) => id === envelope.kek);
  if (envelope.v !== 1 || !kek) {
    throw new SealError(`sealed with ${envelope.kek}, but the key given is ${keys.id}`, envelope.kek);
  }
  const aad = associatedData(context, kek.id);
  const dataKey = decrypt(kek, kek.bytes, aad, envelope.wrapped);
  if (dataKey.byteLength !== KEY_BYTES) {
    throw new SealError("the wrapped data key has a wrong length", kek.id);
  }
  const value = decrypt(kek, dataKey, aad, envelope.sealed);
  const secret = new Secret(value.toString("utf8"));
  dataKey.fill(0);
  value.fill(0);
  return secret;
}

/** Length-prefixed `v1 | workspace | vault | credential | version | field | key id`: no two places share one form. */
export function associatedData(context: SealContext, kekId: string): Buffer {
  const { workspace, vault, credential, version, field } = context;
  const parts = ["v1", workspace, vault, credential, version, field, kekId].map((part) => {
    const text = Buffer.from(part, "utf8");
    const length = Buffer.alloc(4);
    length.writeUInt32BE(text.byteLength);
    return Buffer.concat([length, text]);
  });
  return Buffer.concat(parts);
}

function encrypt(key: Uint8Array, nonce: Uint8Array, aad: Buffer, plain: Uint8Array): Buffer {
  const cipher = createCipheriv(ALGORITHM, key, nonce, { authTagLength: TAG_BYTES });
  cipher.setAAD(aad);
  return Buffer.concat([nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
}

function decrypt(kek: KeyEncryptionKey, key: Uint8Array, aad: Buffer, text: string): Buffer {
  const data = Buffer.from(text.slice(0, MAX_SEALED_TEXT), "base64");
  if (data.byteLength < NONCE_BYTES + TAG_BYTES) {
    throw new SealError("the sealed value is too short", kek.id);
  }
  const decipher = createDecipheriv(ALGORITHM, key, data.subarray(0, NONCE_BYTES), { authTagLength: TAG_BYTES });
  decipher.setAAD(aad);
  decipher.setAuthTag(data.subarray(data.byteLength - TAG_BYTES));
  try {
    const body = data.subarray(NONCE_BYTES, data.byteLength - TAG_BYTES);
    return Buffer.concat([decipher.update(body), decipher.final()]);
  } catch {
    // The engine's own error is left out: it says nothing more, and a cause could carry buffers.
    throw new SealError("the sealed value does not open here: it was altered or belongs elsewhere", kek.id);
  }
}
