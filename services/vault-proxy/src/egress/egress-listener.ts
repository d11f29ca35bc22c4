/**
 * The egress proxy's own door, for parts of the platform that hold a session token themselves (the harness's web
 * tools): an ordinary forward proxy that asks for the token as `Proxy-Authorization: Bearer`. Hands come through their
 * tunnel instead, where the token is put in front of the connection outside of them.
 */
import { createServer } from "node:http";
import type { Lifecycle, Logger } from "@manyhands/kit";
import { CLIENT_TIMES, type ClientTimes, lookEveryMs } from "../http/client-times.ts";
import { listenHttp } from "../http/listen.ts";
import type { EgressProxy } from "./egress-proxy.ts";

const MAX_HEADER_BYTES = 16 * 1024;

/** Starts listening; answers the real address. */
export function createEgressListener(options: {
  readonly listen: string;
  readonly proxy: EgressProxy;
  readonly lifecycle: Lifecycle;
  readonly logger: Logger;
  /** Default: `CLIENT_TIMES`. */
  readonly times?: ClientTimes | undefined;
}): Promise<string> {
  const { proxy, logger, lifecycle, times = CLIENT_TIMES } = options;
  const failed = (error: unknown) => logger.error({ err: error }, "an egress request failed unexpectedly");
  const strict = { maxHeaderSize: MAX_HEADER_BYTES, insecureHTTPParser: false };
  const server = createServer({ ...strict, connectionsCheckingInterval: lookEveryMs(times) }, (request, response) => {
    proxy.plain(bearerOf(request.headers["proxy-authorization"]), request, response).catch((error: unknown) => {
      failed(error);
      response.destroy();
    });
  });
  server.on("connect", (request, socket, head) => {
    proxy.connect(bearerOf(request.headers["proxy-authorization"]), request, socket, head).catch((error: unknown) => {
      failed(error);
      socket.destroy();
    });
  });
  server.headersTimeout = times.headersMs;
  server.timeout = times.silenceMs;
  return listenHttp(server, options.listen, "egress proxy", lifecycle);
}

function bearerOf(header: string | undefined): string {
  return /^Bearer ([A-Za-z0-9._-]{1,4096})$/i.exec(header ?? "")?.[1] ?? "";
}
