import { raceAbort } from "./deadline.ts";

/** The part of a writable stream that `writeAll` needs. */
export type Sink<T> = {
  write(value: T): boolean;
  readonly destroyed?: boolean;
  once(event: "drain", listener: () => void): unknown;
  off(event: "drain", listener: () => void): unknown;
};

/**
 * Writes a stream of values with backpressure: the next value is only asked for after the sink has room again.
 * Stops with the signal's reason when it aborts, even when the source is stuck, and then ends the source.
 */
export async function writeAll<T>(source: AsyncIterable<T>, sink: Sink<T>, signal: AbortSignal): Promise<void> {
  const iterator = source[Symbol.asyncIterator]();
  try {
    for (;;) {
      signal.throwIfAborted();
      const next = await raceAbort(iterator.next(), signal);
      if (next.done) {
        return;
      }
      signal.throwIfAborted();
      if (!sink.write(next.value)) {
        await drained(sink, signal);
      }
    }
  } catch (error) {
    endQuietly(iterator);
    throw error;
  }
}

/** Tells a source nobody reads any more; not awaited, because a stuck source would hold us too. */
export function endQuietly<T>(iterator: AsyncIterator<T>): void {
  Promise.resolve(iterator.return?.()).catch(() => undefined);
}

async function drained<T>(sink: Sink<T>, signal: AbortSignal): Promise<void> {
  let onDrain = () => {};
  const drain = new Promise<void>((resolve) => {
    onDrain = resolve;
    sink.once("drain", onDrain);
  });
  try {
    await raceAbort(drain, signal);
  } finally {
    sink.off("drain", onDrain);
  }
}
