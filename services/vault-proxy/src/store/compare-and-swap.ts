import { AppError } from "@manyhands/kit";
import { decodeJson, encodeJson } from "./json.ts";
import { type Kv, MAX_VALUE_BYTES } from "./kv.ts";

const ATTEMPTS = 16;

/**
 * Reads a document, lets `change` decide on it, and stores the result if nothing moved in between; else decides
 * again. `change` gets undefined when there is none, may throw, and may return the same object to change nothing.
 */
export async function compareAndSwap<T extends object>(
  kv: Kv,
  key: string,
  change: (current: T | undefined) => T,
): Promise<T> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const entry = await kv.get(key);
    const current = entry && decodeJson<T>(entry.value);
    const next = change(current);
    if (next === current) {
      return next;
    }
    const value = encodeJson(next);
    if (value.byteLength > MAX_VALUE_BYTES) {
      const description = `is too long in all: ${value.byteLength} bytes once stored, at most ${MAX_VALUE_BYTES}`;
      throw AppError.invalid([{ field: "request", description }]);
    }
    const revision = entry ? await kv.update(key, value, entry.revision) : await kv.create(key, value);
    if (revision !== undefined) {
      return next;
    }
  }
  throw new AppError("conflict", {
    reason: "TOO_MUCH_CONTENTION",
    message: "others changed the same thing at the same time; try again",
    retry: "now",
  });
}
