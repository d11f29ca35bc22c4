/** What a watcher has not taken yet: bounded in items and bytes, woken by arrival, abort or heartbeat. */

/** A bounded buffer with one reader. */
export interface WatchBuffer<T> {
  /** Adds an item; answers false, and keeps nothing, when there is no room. */
  push(item: T, bytes: number): boolean;
  /** The next item at once; undefined when empty. */
  shift(): T | undefined;
  /** Drops everything. */
  clear(): void;
  /** Resolves when there is an item, after `ms`, when woken, or when the signal aborts. */
  wait(ms: number, signal: AbortSignal): Promise<void>;
  /** Ends a running wait. */
  wake(): void;
}

/** An empty buffer. */
export function createWatchBuffer<T>(maxItems: number, maxBytes: number): WatchBuffer<T> {
  const items: { readonly item: T; readonly bytes: number }[] = [];
  let bytes = 0;
  let wakeUp: () => void = () => undefined;
  return {
    push(item, size) {
      if (items.length >= maxItems || (bytes + size > maxBytes && items.length > 0)) return false;
      items.push({ item, bytes: size });
      bytes += size;
      wakeUp();
      return true;
    },
    shift() {
      const first = items.shift();
      bytes -= first?.bytes ?? 0;
      return first?.item;
    },
    clear() {
      items.length = 0;
      bytes = 0;
    },
    async wait(ms, signal) {
      if (items.length > 0 || signal.aborted) return;
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, ms);
      wakeUp = resolve;
      const onAbort = () => resolve();
      signal.addEventListener("abort", onAbort, { once: true });
      await promise;
      signal.removeEventListener("abort", onAbort);
      clearTimeout(timer);
      wakeUp = () => undefined;
    },
    wake: () => wakeUp(),
  };
}
