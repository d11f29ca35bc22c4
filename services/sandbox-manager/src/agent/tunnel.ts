import type { Socket } from "node:net";
import type { Logger } from "@manyhands/kit";
import type { AgentChannel, TunnelFrame } from "./channel.ts";
import { FROM_AGENT, TO_AGENT } from "./messages.ts";

/** Bytes in flight each way on each connection; the same number as CONN_WINDOW in `agent/agent.h`. */
const WINDOW_BYTES = 256 * 1024;
const CHUNK_BYTES = 32 * 1024;

type Connection = {
  /** Undefined while dialling. */
  socket: Socket | undefined;
  /** Arrived before the dial was done; bounded by the window. */
  early: Buffer[];
  earlyEof: boolean;
  /** Bytes the hand can still take. */
  credit: number;
};

/** The manager's end of a hand's tunnel: each connection made inside is dialled outside and carried both ways. */
export type Tunnel = { onFrame(frame: TunnelFrame): void; close(): void };

/** `dial` opens the way out for this hand, preamble included; no dialer means every connection is refused. */
export function createTunnel(
  channel: () => AgentChannel,
  dial: (() => Promise<Socket>) | undefined,
  logger: Logger,
): Tunnel {
  const connections = new Map<number, Connection>();

  const drop = (id: number, tellHand: boolean) => {
    const connection = connections.get(id);
    if (!connection) return;
    connections.delete(id);
    connection.socket?.destroy();
    if (tellHand) channel().sendTunnel(TO_AGENT.connectionClose, id);
  };

  /** Out of the socket into the hand, as far as the hand's window goes. */
  const forward = (id: number, connection: Connection) => {
    const { socket } = connection;
    if (!socket) return;
    while (connection.credit > 0) {
      const available = Math.min(connection.credit, CHUNK_BYTES, socket.readableLength);
      const chunk: unknown = available > 0 ? socket.read(available) : null;
      if (!Buffer.isBuffer(chunk)) return;
      connection.credit -= chunk.length;
      channel().sendTunnel(TO_AGENT.connectionData, id, chunk);
    }
  };

  const into = (id: number, socket: Socket, data: Buffer) => {
    socket.write(data, () => {
      if (connections.has(id)) channel().sendTunnel(TO_AGENT.connectionCredit, id, data.length);
    });
  };

  const open = async (id: number) => {
    const connection: Connection = { socket: undefined, early: [], earlyEof: false, credit: WINDOW_BYTES };
    connections.set(id, connection);
    if (!dial) return drop(id, true);
    let socket: Socket;
    try {
      socket = await dial();
    } catch (error) {
      logger.warn({ err: error }, "no way out for a connection of the hand");
      return drop(id, true);
    }
    if (connections.get(id) !== connection) {
      socket.destroy();
      return;
    }
    connection.socket = socket;
    socket.on("readable", () => forward(id, connection));
    socket.on("end", () => {
      if (connections.has(id)) channel().sendTunnel(TO_AGENT.connectionEof, id);
    });
    socket.on("error", () => drop(id, true));
    socket.on("close", () => connections.delete(id));
    for (const data of connection.early) into(id, socket, data);
    connection.early = [];
    if (connection.earlyEof) socket.end();
    forward(id, connection);
  };

  return {
    onFrame({ type, connection: id, fields }) {
      if (type === FROM_AGENT.connectionOpened) {
        void open(id);
        return;
      }
      const connection = connections.get(id);
      if (!connection) return;
      switch (type) {
        case FROM_AGENT.connectionData: {
          const data = Buffer.from(fields.bytes());
          if (connection.socket) into(id, connection.socket, data);
          else connection.early.push(data);
          return;
        }
        case FROM_AGENT.connectionEof:
          if (connection.socket) connection.socket.end();
          else connection.earlyEof = true;
          return;
        case FROM_AGENT.connectionClosed:
          return drop(id, false);
        case FROM_AGENT.connectionCredit:
          connection.credit += fields.u32();
          forward(id, connection);
          return;
      }
    },
    close() {
      for (const id of [...connections.keys()]) drop(id, false);
    },
  };
}
