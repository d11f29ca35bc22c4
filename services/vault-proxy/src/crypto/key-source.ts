/** Where key-encryption keys come from: a file with strict permissions, the environment, or a command that asks a KMS. */
import { execFile } from "node:child_process";
import type { Secret } from "@manyhands/kit";
import { KEY_BYTES, type KeyEncryptionKey, keyEncryptionKey } from "./envelope.ts";
import { readKeyFile } from "./key-file.ts";

/** One place of a key. A command is run without a shell and prints the key in base64. */
export type KeyPlace =
  | { readonly type: "file"; readonly path: string }
  | { readonly type: "environment"; readonly value: Secret }
  | { readonly type: "command"; readonly argv: readonly string[] };

/** A key that cannot be had; the message says why and never holds any of it. */
export class KeySourceError extends Error {
  override readonly name = "KeySourceError";
}

const COMMAND_MS = 30_000;
const MAX_OUTPUT = 1024;
const BASE64_KEY = /^[A-Za-z0-9+/_-]{43}=?$/;

/** The current key, which also opens what was sealed with any of the other key files. */
export async function readKeys(current: KeyPlace, otherFiles: readonly string[]): Promise<KeyEncryptionKey> {
  const key = await readKey(current);
  const older = otherFiles.map(readKeyFile).filter((other) => other.id !== key.id);
  return { ...key, older };
}

async function readKey(place: KeyPlace): Promise<KeyEncryptionKey> {
  switch (place.type) {
    case "file":
      return readKeyFile(place.path);
    case "environment":
      return parseKey(place.value.reveal(), "MH_VAULT_KEY_BASE64");
    case "command":
      return parseKey(await outputOf(place.argv), "the output of MH_VAULT_KEY_COMMAND");
    default: {
      const never: never = place;
      return never;
    }
  }
}

function parseKey(text: string, what: string): KeyEncryptionKey {
  const trimmed = text.trim();
  if (!BASE64_KEY.test(trimmed)) throw new KeySourceError(`${what} must be ${KEY_BYTES} bytes in base64`);
  return keyEncryptionKey(new Uint8Array(Buffer.from(trimmed, "base64")));
}

/** What the command prints; its error output may quote anything and is left out. */
function outputOf([command = "", ...args]: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(command, args, { timeout: COMMAND_MS, maxBuffer: MAX_OUTPUT, encoding: "utf8" }, (error, stdout) => {
      if (!error) return resolve(stdout);
      const code =
        typeof error.code === "number" ? `exit code ${error.code}` : (error.code ?? error.signal ?? "an error");
      reject(new KeySourceError(`MH_VAULT_KEY_COMMAND ended with ${code}`));
    });
  });
}
