/** Ends TLS and begins it anew, with nothing but pipes in between: what that costs in Node without us. */
import { pipeline } from "node:stream/promises";
import { connect, createServer } from "node:tls";
import type { RelayOptions } from "./bare-tls-relay.ts";

process.once("message", ({ key, cert, ca, port }: RelayOptions) => {
  const server = createServer({ key, cert }, (client) => {
    const upstream = connect({ host: "127.0.0.1", port, servername: "localhost", ca });
    pipeline(client, upstream, client).catch(() => client.destroy());
  });
  server.listen(0, "127.0.0.1", () => process.send?.(server.address()));
});
process.on("disconnect", () => process.exit(0));
