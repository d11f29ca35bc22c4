/**
 * The hands' listener: raw TCP that begins with one line naming the session, then plain HTTP. Who connects is a hand's
 * tunnel, so nothing that a hand's program can send is trusted to say which session it is. A request for a path is
 * git's; CONNECT and requests for a whole URL are for the egress proxy.
 *
 * L1 the connections of one token are bounded from their first line on, so that a hand that opens many and says little
 * leaves room for the others.
 */
import { createServer, type IncomingMessage, type ServerResponse, STATUS_CODES } from "node:http";
import type { Socket } from "node:net";
import type { Lifecycle, Logger } from "@manyhands/kit";
import type { EgressProxy } from "../egress/egress-proxy.ts";
import { CLIENT_TIMES, type ClientTimes, lookEveryMs } from "../http/client-times.ts";
import { endSoon } from "../http/end-soon.ts";
import { listenHttp } from "../http/listen.ts";
import { sessionSlots } from "../http/session-slots.ts";
import { MAX_PREAMBLE_BYTES, readPreamble } from "./preamble.ts";

/** Serves one HTTP request of a connection whose first line carried this token. */
export type GitHandler = (token: string, request: IncomingMessage, response: ServerResponse) => Promise<void>;

/** Options of the listener. */
export type GitListenerOptions = {
  readonly listen: string;
  readonly handle: GitHandler;
  readonly egress: EgressProxy;
  readonly lifecycle: Lifecycle;
  readonly logger: Logger;
  /** Default: `CLIENT_TIMES`. */
  readonly times?: ClientTimes | undefined;
};

/** Open connections of one token, idle ones included. */
const CONNECTIONS_PER_TOKEN = 128;
const MAX_HEADER_BYTES = 16 * 1024;
const REQUEST_MS = 3_600_000;
const KEEP_ALIVE_MS = 75_000;

/** Starts listening; answers the real address. */
export function createGitListener(options: GitListenerOptions): Promise<string> {
  const { handle, egress, lifecycle, times = CLIENT_TIMES } = options;
  const logger = options.logger.child({ part: "git" });
  const tokens = new WeakMap<Socket, string>();
  const slots = sessionSlots(CONNECTIONS_PER_TOKEN);
  const strict = { maxHeaderSize: MAX_HEADER_BYTES, insecureHTTPParser: false };
  const server = createServer({ ...strict, connectionsCheckingInterval: lookEveryMs(times) }, (request, response) => {
    const token = tokens.get(request.socket) ?? "";
    const forGit = request.url?.startsWith("/") ?? false;
    (forGit ? handle(token, request, response) : egress.plain(token, request, response)).catch((error: unknown) => {
      logger.error({ err: error }, "a hand's request failed unexpectedly");
      response.destroy();
    });
  });
  server.on("connect", (request, socket, head) => {
    egress.connect(tokens.get(request.socket) ?? "", request, socket, head).catch((error: unknown) => {
      logger.error({ err: error }, "a hand's tunnel failed unexpectedly");
      socket.destroy();
    });
  });
  server.headersTimeout = times.headersMs;
  server.requestTimeout = REQUEST_MS;
  server.keepAliveTimeout = KEEP_ALIVE_MS;
  server.timeout = times.silenceMs;
  afterPreamble(server.listeners("connection"), (replacement) => {
    server.removeAllListeners("connection").on("connection", replacement);
  });
  return listenHttp(server, options.listen, "git proxy", lifecycle);

  /** Puts the reading of the first line before the HTTP server's own work on a new connection. */
  function afterPreamble(
    httpListeners: readonly ((...args: readonly unknown[]) => void)[] | readonly unknown[],
    install: (replacement: (socket: Socket) => void) => void,
  ): void {
    install((socket) => {
      // Without a listener an error that comes between two phases would end the process.
      socket.on("error", () => undefined);
      socket.setNoDelay(true);
      const limits = { bytes: MAX_PREAMBLE_BYTES, timeMs: times.preambleMs };
      void readPreamble(socket, limits).then((preamble) => {
        if (!preamble || socket.destroyed) {
          socket.destroy();
        } else if (!preamble.ok) {
          refuse(socket, preamble.status, preamble.problem);
        } else {
          const giveBack = slots.take(preamble.token);
          if (!giveBack) {
            refuse(socket, 429, `this session has ${CONNECTIONS_PER_TOKEN} connections open already`);
            return;
          }
          socket.once("close", giveBack);
          tokens.set(socket, preamble.token);
          for (const listener of httpListeners) {
            if (typeof listener === "function") {
              listener.call(server, socket);
            }
          }
          // Reading the first line paused the socket; what was given back to it flows from here.
          socket.resume();
        }
      });
    });
  }
}

function refuse(socket: Socket, status: number, problem: string): void {
  const body = `manyhands: ${problem}\n`;
  endSoon(
    socket,
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? "Error"}\r\ncontent-type: text/plain\r\ncontent-length: ${Buffer.byteLength(body)}\r\n` +
      `connection: close\r\n\r\n${body}`,
  );
}
