import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { KEY_BYTES, type KeyEncryptionKey, keyEncryptionKey } from "./envelope.ts";

/** A key file that cannot be used; the message says what is wrong and how to make a right one. */
export class KeyFileError extends Error {
  constructor(path: string, problem: string) {
    super(
      `the key file ${path} ${problem}. It must hold ${KEY_BYTES} random bytes in base64 and be readable by its owner ` +
        `only (mode 0600 or 0400): (umask 077; head -c ${KEY_BYTES} /dev/urandom | base64 > ${path})`,
    );
    this.name = "KeyFileError";
  }
}

const MAX_FILE_BYTES = 256;
const OPEN_TO_OTHERS = 0o077;
const EXECUTABLE = 0o100;

/** Reads the key-encryption key. Mode and content are those of the one opened file, so they cannot be swapped between. */
export function readKeyFile(path: string): KeyEncryptionKey {
  let file: number;
  try {
    file = openSync(path, "r");
  } catch (error) {
    throw new KeyFileError(path, `cannot be opened (${codeOf(error)})`);
  }
  try {
    const stat = fstatSync(file);
    if (!stat.isFile()) {
      throw new KeyFileError(path, "is not a file");
    }
    if ((stat.mode & (OPEN_TO_OTHERS | EXECUTABLE)) !== 0) {
      throw new KeyFileError(path, `has mode ${(stat.mode & 0o777).toString(8).padStart(4, "0")}`);
    }
    const buffer = Buffer.alloc(MAX_FILE_BYTES);
    const text = buffer.toString("utf8", 0, readSync(file, buffer, 0, MAX_FILE_BYTES, 0)).trim();
    if (stat.size > MAX_FILE_BYTES || !/^[A-Za-z0-9+/_-]{43}=?$/.test(text)) {
      throw new KeyFileError(path, "does not hold the base64 form of a key");
    }
    const key = keyEncryptionKey(new Uint8Array(Buffer.from(text, "base64")));
    buffer.fill(0);
    return key;
  } finally {
    closeSync(file);
  }
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "unknown error";
}
