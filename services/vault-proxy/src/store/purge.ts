import type { Kv } from "./kv.ts";

/** Removes everything below a prefix. What was removed already is no error, so it may be repeated after a crash. */
export async function purgeBelow(kv: Kv, prefix: string): Promise<void> {
  for (const key of await kv.keys(prefix)) {
    await kv.purge(key);
  }
}
