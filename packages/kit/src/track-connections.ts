/** Closes an HTTP server without waiting for connections that carry no request. */
import type { Server } from "node:http";
import type { Socket } from "node:net";

/**
 * Watches a server's connections; call before it listens. The answer ends every connection that has no running request
 * now, and each other one when its last request is over. Node's own `closeIdleConnections` overlooks connections that
 * never carried a request, which clients with a connection pool open ahead of use.
 */
export function trackConnections(server: Server): () => void {
  const running = new Map<Socket, number>();
  let closing = false;
  const settle = (socket: Socket) => {
    if (closing && (running.get(socket) ?? 0) === 0) socket.destroySoon();
  };
  server.on("connection", (socket) => {
    running.set(socket, 0);
    socket.once("close", () => running.delete(socket));
    settle(socket);
  });
  server.on("request", (request, response) => {
    const { socket } = request;
    running.set(socket, (running.get(socket) ?? 0) + 1);
    response.once("close", () => {
      const left = running.get(socket);
      if (left === undefined) return;
      running.set(socket, left - 1);
      settle(socket);
    });
  });
  return () => {
    closing = true;
    for (const socket of running.keys()) settle(socket);
  };
}
