import type { Server } from "node:http";
import { AppError, formatAddress, type Lifecycle, parseAddress, trackConnections } from "@manyhands/kit";

const MAX_CONNECTIONS = 2048;
const KILL_MARGIN_MS = 1000;

/**
 * Makes a proxy's HTTP server listen. On stop it takes no new connections, lets running requests finish until the
 * drain deadline, and then ends the rest by force.
 */
export async function listenHttp(server: Server, listen: string, name: string, lifecycle: Lifecycle): Promise<string> {
  const wanted = parseAddress(listen);
  if (!wanted) {
    throw AppError.invalid([{ field: name, description: `must be host:port, got ${listen}` }]);
  }
  server.maxConnections = MAX_CONNECTIONS;
  const endConnections = trackConnections(server);
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error) => {
      reject(AppError.unavailable("LISTEN_FAILED", `${name}: cannot listen on ${listen}: ${error.message}`, error));
    });
    server.listen(wanted.port, wanted.host, resolve);
  });
  let closed: Promise<void> | undefined;
  lifecycle.onStop(
    `${name}: refuse new connections`,
    () => {
      closed = new Promise((resolve) => server.close(() => resolve()));
      endConnections();
    },
    { phase: "accept" },
  );
  lifecycle.onStop(
    `${name}: finish running requests`,
    async () => {
      const killer = setTimeout(() => server.closeAllConnections(), lifecycle.drainMs);
      await closed;
      clearTimeout(killer);
    },
    { phase: "drain", deadlineMs: lifecycle.drainMs + KILL_MARGIN_MS },
  );
  const bound = server.address();
  const port = typeof bound === "object" && bound ? bound.port : wanted.port;
  return formatAddress({ host: wanted.host, port });
}
