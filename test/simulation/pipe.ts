/** Streams between simulated processes. */
import { AppError } from "@manyhands/kit";
import type { Process } from "./process.ts";

/** A stream of items from another process. */
export class Pipe<T> implements AsyncIterable<T> {
  private readonly items: T[] = [];
  private end: { error?: unknown } | undefined;
  private wake: (() => void) | undefined;

  push(item: T): void {
    this.items.push(item);
    this.wake?.();
  }

  close(error?: unknown): void {
    this.end ??= error === undefined ? {} : { error };
    this.wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T> {
    for (;;) {
      const item = this.items.shift();
      if (item !== undefined) yield item;
      else if (this.end !== undefined) {
        if ("error" in this.end) throw this.end.error;
        return;
      } else {
        await new Promise<void>((resolve) => {
          this.wake = resolve;
        });
      }
    }
  }
}

/** How a stream is asked for. */
export interface Streamed<T> {
  /** Names the call where crashes are counted, and one of its items. */
  readonly site: string;
  label(item: T): string;
  open(): Pipe<T>;
  readonly signal: AbortSignal | undefined;
}

/** A stream over the network: it may never open, and its reader may die between any two items. */
export async function* through<T>(process: Process, { site, label, open, signal }: Streamed<T>): AsyncGenerator<T> {
  const local = new Pipe<T>();
  const abort = () => local.close(new AppError("cancelled", { reason: "CANCELLED", message: "cancelled" }));
  signal?.addEventListener("abort", abort, { once: true });
  const remote = await process.call(site, open, signal);
  void (async () => {
    try {
      for await (const item of remote) process.deliver(() => local.push(item));
      process.deliver(() => local.close());
    } catch (error) {
      process.deliver(() => local.close(error));
    }
  })();
  for await (const item of local) {
    if (process.mayCrash(`${site}: ${label(item)}`)) return await new Promise<never>(() => undefined);
    yield item;
  }
}
