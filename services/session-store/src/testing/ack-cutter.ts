/** A TCP proxy before nats-server that cuts the connection instead of delivering an acknowledgement of the log. */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";

/** A running proxy. */
export interface AckCutter {
  /** Where to connect instead of to the server. */
  readonly url: string;
  /** Cuts the connection on each of the next `count` acknowledgements of MH_LOG. */
  cutNext(count: number): void;
  /** How many were cut so far. */
  cuts(): number;
  close(): Promise<void>;
}

/** Starts one in front of a server on loopback. */
export async function startAckCutter(serverPort: number): Promise<AckCutter> {
  let armed = 0;
  let cut = 0;
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = connect(serverPort, "127.0.0.1");
    const end = () => {
      client.destroy();
      upstream.destroy();
    };
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on("error", end);
      socket.on("close", () => {
        sockets.delete(socket);
        end();
      });
    }
    client.pipe(upstream);
    upstream.on("data", (chunk: Buffer) => {
      if (armed > 0 && chunk.includes('{"stream":"MH_LOG"')) {
        armed -= 1;
        cut += 1;
        end();
        return;
      }
      client.write(chunk);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo; // a TCP server's address is never a path
  return {
    url: `nats://127.0.0.1:${port}`,
    cutNext(count) {
      armed = count;
    },
    cuts: () => cut,
    async close() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}
