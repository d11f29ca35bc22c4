import { type Kv, type KvChange, type KvEntry, MAX_VALUE_BYTES } from "./kv.ts";

/** A bucket in memory with the same promises as the durable one, for tests and for nothing else. */
export function memoryKv(): Kv {
  const entries = new Map<string, KvEntry>();
  const watchers = new Set<(change: KvChange) => void>();
  let revision = 0;

  const put = (key: string, value: Uint8Array): number => {
    if (value.byteLength > MAX_VALUE_BYTES) {
      throw new RangeError(`a value has at most ${MAX_VALUE_BYTES} bytes, got ${value.byteLength}`);
    }
    revision += 1;
    const stored = value.slice();
    entries.set(key, { key, value: stored, revision });
    announce({ key, value: stored });
    return revision;
  };
  const announce = (change: KvChange) => {
    for (const watcher of watchers) {
      queueMicrotask(() => watchers.has(watcher) && watcher(change));
    }
  };

  return {
    get: async (key) => entries.get(key),
    create: async (key, value) => (entries.has(key) ? undefined : put(key, value)),
    update: async (key, value, expected) => (entries.get(key)?.revision === expected ? put(key, value) : undefined),
    async purge(key) {
      if (entries.delete(key)) {
        announce({ key });
      }
    },
    keys: async (prefix) => [...entries.keys()].filter((key) => prefix === "" || key.startsWith(`${prefix}.`)),
    async watch(onChange, signal) {
      const watcher = (change: KvChange) => onChange(change);
      watchers.add(watcher);
      signal.addEventListener("abort", () => watchers.delete(watcher), { once: true });
    },
  };
}
