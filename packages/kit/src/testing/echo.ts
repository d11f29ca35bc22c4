import { AppError } from "../errors.ts";
import { EchoService } from "../gen/manyhands/testing/v1/echo_service_pb.ts";
import { createLifecycle, type Lifecycle } from "../lifecycle.ts";
import { type Logger, silentLogger } from "../logger.ts";
import { createMetrics, type Metrics } from "../metrics.ts";
import { createRpcClient } from "../rpc-client.ts";
import { implement } from "../rpc-handlers.ts";
import { createRpcServer } from "../rpc-server.ts";
import type { RpcClient, ServiceImpl } from "../rpc-types.ts";

export { EchoService };

/** A real echo server on a free loopback port, with a real client. For the tests of this package. */
export type EchoBed = {
  readonly address: string;
  readonly client: RpcClient<typeof EchoService>;
  readonly lifecycle: Lifecycle;
  readonly metrics: Metrics;
  [Symbol.asyncDispose](): Promise<void>;
};

/** The plain echo of all four kinds; EchoLater is left out on purpose. */
export const echo: ServiceImpl<typeof EchoService> = {
  async echoOnce({ text, payload }) {
    return { text, payload };
  },
  async *echoMany({ text, payload, count }) {
    for (let index = 0; index < count; index += 1) {
      yield { text, payload, index };
    }
  },
  async echoJoined(requests) {
    let text = "";
    let index = 0;
    for await (const request of requests) {
      text += request.text;
      index += 1;
    }
    return { text, index };
  },
  async *echoEach(requests) {
    let index = 0;
    for await (const { text, payload } of requests) {
      yield { text, payload, index };
      index += 1;
    }
  },
};

/** Starts the echo service with some handlers replaced. */
export async function startEcho(
  impl: ServiceImpl<typeof EchoService> = {},
  options: { readonly drainMs?: number; readonly logger?: Logger; readonly listen?: string } = {},
): Promise<EchoBed> {
  const logger = options.logger ?? silentLogger();
  const lifecycle = createLifecycle({ logger, drainMs: options.drainMs ?? 200 });
  const metrics = createMetrics();
  const services = [implement(EchoService, { ...echo, ...impl })];
  const { address } = await createRpcServer({
    listen: options.listen ?? "127.0.0.1:0",
    services,
    logger,
    lifecycle,
    metrics,
  });
  lifecycle.setReady(true);
  const client = createRpcClient(EchoService, {
    address,
    defaultDeadlineMs: 10_000,
    retryReads: ["echoOnce"],
    metrics,
  });
  return {
    address,
    client,
    lifecycle,
    metrics,
    async [Symbol.asyncDispose]() {
      client.close();
      await lifecycle.stop("the test is over");
    },
  };
}

/** All values of a stream. */
export async function collect<T>(source: AsyncIterable<T>): Promise<T[]> {
  const values: T[] = [];
  for await (const value of source) {
    values.push(value);
  }
  return values;
}

/** The AppError a promise rejects with; anything else fails the test. */
export async function failureOfCall(promise: Promise<unknown>): Promise<AppError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof AppError) {
      return error;
    }
    throw error;
  }
  throw new Error("the call did not fail");
}

/** A promise with its ends outside. */
export function gate(): { readonly opened: Promise<void>; open(): void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { opened: promise, open: () => resolve() };
}
