/** The connection to NATS: reconnects for ever with bounded, jittered waits; says when it is away; drains on stop. */
import { AppError, backoffMs, type Logger, systemClock } from "@manyhands/kit";
import {
  type Authenticator,
  connect,
  type NatsConnection,
  nkeyAuthenticator,
  usernamePasswordAuthenticator,
} from "@nats-io/transport-node";
import { createReplies, type Replies } from "./replies.ts";

/** How to reach the bus. */
export interface BusOptions {
  /** `nats://host:port`, several by comma. */
  readonly url: string;
  /** Name of this client in the server's lists. */
  readonly name: string;
  /** Prefix of reply subjects; default `_INBOX`. One per service, so that rights can be given per service. */
  readonly inboxPrefix?: string;
  /** Where connection changes are told. */
  readonly logger: Logger;
  /** Ends waiting for the first connection. */
  readonly signal?: AbortSignal;
  /** How long to wait for the first connection in milliseconds; default 15 000. */
  readonly connectTimeoutMs?: number;
  /** User and password, if the server asks for them. */
  readonly credentials?: { readonly user: string; readonly password: string } | { readonly nkeySeed: string };
}

/** An open connection. */
export interface Bus {
  /** For this package only: what its helpers publish and subscribe through. */
  readonly connection: NatsConnection;
  /** Prefix of this connection's reply subjects. */
  readonly inboxPrefix: string;
  /** For this package only: questions with one reply. */
  readonly replies: Replies;
  /** Where bus trouble is told. */
  readonly logger: Logger;
  /** False while the server is away; helpers refuse to publish then instead of buffering. */
  readonly connected: () => boolean;
  /** Version of the server. */
  readonly serverVersion: () => string;
  /** Largest message in bytes that the server takes. */
  readonly maxPayloadBytes: () => number;
  /** Calls back after each reconnect; returns how to stop listening. */
  onReconnect(listener: () => void): () => void;
  /** Drains: no new messages, running handlers end, then the connection closes. Twice is fine. */
  close(): Promise<void>;
}

const reconnectWaitMs = 200;
const reconnectJitterMs = 300;
const drainDeadlineMs = 3000;

/**
 * Connects, waiting at most `connectTimeoutMs` for the first connection. Afterwards a lost connection is retried
 * until `close` (each wait 0.2 to 0.5 s): a service outlives an outage of the bus and answers UNAVAILABLE meanwhile.
 */
export async function connectBus(options: BusOptions): Promise<Bus> {
  const connection = await connectFirst(options);
  const state = { connected: true };
  const listeners = new Set<() => void>();
  watchStatus(connection, options.logger, state, listeners);
  let closing: Promise<void> | undefined;
  return {
    connection,
    inboxPrefix: options.inboxPrefix ?? "_INBOX",
    replies: createReplies(connection, options.inboxPrefix ?? "_INBOX"),
    logger: options.logger,
    connected: () => state.connected && !connection.isClosed(),
    serverVersion: () => connection.info?.version ?? "",
    maxPayloadBytes: () => connection.info?.max_payload ?? 0,
    onReconnect(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    close() {
      closing ??= closeConnection(connection);
      return closing;
    },
  };
}

async function connectFirst(options: BusOptions): Promise<NatsConnection> {
  const deadlineMs = performance.now() + (options.connectTimeoutMs ?? 15_000);
  for (let attempt = 1; ; attempt += 1) {
    options.signal?.throwIfAborted();
    try {
      return await connect({
        servers: options.url.split(",").map((server) => server.trim()),
        name: options.name,
        inboxPrefix: options.inboxPrefix ?? "_INBOX",
        timeout: 5000,
        maxReconnectAttempts: -1,
        reconnectTimeWait: reconnectWaitMs,
        reconnectJitter: reconnectJitterMs,
        ignoreAuthErrorAbort: true,
        pingInterval: 10_000,
        maxPingOut: 2,
        noAsyncTraces: true,
        ...(options.credentials === undefined ? {} : { authenticator: authenticator(options.credentials) }),
      });
    } catch (error) {
      const waitMs = backoffMs(attempt, { initialMs: 100, maxMs: 1000 });
      if (performance.now() + waitMs > deadlineMs) {
        const why = error instanceof Error ? error.message : String(error);
        throw AppError.unavailable("BUS_UNAVAILABLE", `cannot connect to NATS at ${options.url}: ${why}`, error);
      }
      await systemClock.sleep(waitMs, options.signal);
    }
  }
}

function authenticator(credentials: NonNullable<BusOptions["credentials"]>): Authenticator {
  return "nkeySeed" in credentials
    ? nkeyAuthenticator(new TextEncoder().encode(credentials.nkeySeed))
    : usernamePasswordAuthenticator(credentials.user, credentials.password);
}

function watchStatus(
  connection: NatsConnection,
  logger: Logger,
  state: { connected: boolean },
  listeners: ReadonlySet<() => void>,
): void {
  const watch = async () => {
    for await (const status of connection.status()) {
      if (status.type === "disconnect" || status.type === "close") {
        state.connected = false;
        logger.warn({ status: status.type }, "the bus is away");
      } else if (status.type === "reconnect") {
        state.connected = true;
        logger.info({ server: status.server }, "the bus is back");
        for (const listener of listeners) listener();
      } else if (status.type === "error") {
        logger.warn({ err: status.error }, "the bus reports an error");
      } else if (status.type === "slowConsumer") {
        logger.warn({ subject: status.sub.getSubject(), pending: status.pending }, "a subscription is slow");
      }
    }
  };
  watch().catch((error: unknown) => logger.error({ err: error }, "the bus status cannot be followed"));
}

async function closeConnection(connection: NatsConnection): Promise<void> {
  const timer = setTimeout(() => void connection.close(), drainDeadlineMs);
  try {
    if (!connection.isClosed()) await connection.drain();
  } catch {
    await connection.close(); // drain fails while disconnected; nothing is left to flush then
  } finally {
    clearTimeout(timer);
  }
}
