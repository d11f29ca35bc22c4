import { type BucketName, type Bus, type KvBucket, openBucket } from "@manyhands/bus";
import { type Kv, MAX_KEYS } from "./kv.ts";

/** A bucket of the bus. It keeps one version per key, so that a deleted or replaced value leaves nothing behind. */
export async function busKv(bus: Bus, name: BucketName): Promise<Kv> {
  const bucket: KvBucket = await openBucket(bus, name);
  return {
    get: (key) => bucket.get(key),
    create: (key, value) => bucket.create(key, value),
    update: (key, value, revision) => bucket.update(key, value, revision),
    async purge(key) {
      await bucket.delete(key);
    },
    keys: (prefix) => bucket.keys(prefix === "" ? ">" : `${prefix}.>`, MAX_KEYS),
    async watch(onChange, signal) {
      const stop = await bucket.watch(">", (change) => {
        onChange(change.kind === "put" ? change.entry : { key: change.key });
      });
      signal.addEventListener("abort", stop, { once: true });
    },
  };
}
