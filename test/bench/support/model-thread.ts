/**
 * The demo model in a thread of its own, so that what a bench's client does with answers does not delay what the bench
 * takes for the arrival of a model request.
 */
import { setTimeout as delay } from "node:timers/promises";
import { isMainThread, parentPort, Worker } from "node:worker_threads";
import { createDemoModel, type DemoModel } from "@manyhands/demo-model";

/** A model that tells when each request has arrived whole. */
export interface ModelThread {
  readonly url: string;
  /** The clock of arrivals: `process.hrtime` in milliseconds, the same in every thread. */
  next(waitMs: number): Promise<number>;
  /** How long it thinks before the first byte of an answer; 0 at first. */
  think(delayMs: number): void;
  close(): Promise<void>;
}

type Told = { readonly url: string } | { readonly atMs: number };

/** Milliseconds on the clock that all threads share. */
export function sharedNowMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

/** Starts the model. */
export async function startModelThread(): Promise<ModelThread> {
  const worker = new Worker(new URL(import.meta.url));
  const listening = Promise.withResolvers<string>();
  worker.once("error", listening.reject);
  let waiting: ((atMs: number) => void) | undefined;
  worker.on("message", (told: Told) => {
    if ("url" in told) listening.resolve(told.url);
    else {
      waiting?.(told.atMs);
      waiting = undefined;
    }
  });
  return {
    url: await listening.promise,
    next: (waitMs) =>
      new Promise((resolve, reject) => {
        const late = setTimeout(() => reject(new Error(`no model request within ${waitMs} ms`)), waitMs);
        waiting = (atMs) => {
          clearTimeout(late);
          resolve(atMs);
        };
      }),
    think: (delayMs) => worker.postMessage(delayMs),
    async close() {
      await worker.terminate();
    },
  };
}

async function serve(port: NonNullable<typeof parentPort>): Promise<DemoModel> {
  let thinkMs = 0;
  port.on("message", (delayMs: number) => {
    thinkMs = delayMs;
  });
  const onRequest = () => {
    port.postMessage({ atMs: sharedNowMs() } satisfies Told);
    return thinkMs === 0 ? undefined : delay(thinkMs, undefined);
  };
  const model = await createDemoModel({ listen: "127.0.0.1:0", onRequest });
  port.postMessage({ url: model.url } satisfies Told);
  return model;
}

if (!isMainThread && parentPort !== null) await serve(parentPort);
