/** For tests only: ClientHellos of a real TLS client. */
import { createServer } from "node:net";
import { connect } from "node:tls";

/** The first bytes that a real TLS client sends. */
export function realHello(servername: string | undefined): Promise<Buffer> {
  return new Promise((resolve) => {
    const server = createServer((socket) => {
      socket.once("data", (bytes) => {
        socket.destroy();
        server.close();
        resolve(bytes);
      });
    }).listen(0, "127.0.0.1", () => {
      const address = server.address();
      const port = typeof address === "object" && address ? address.port : 0;
      const options = { host: "127.0.0.1", port, rejectUnauthorized: false };
      connect(servername === undefined ? options : { ...options, servername }).on("error", () => undefined);
    });
  });
}

/** The same with one more extension: Encrypted Client Hello, which may hide another name. */
export function withHiddenName(hello: Buffer): Buffer {
  // The record's head, the handshake's, version and random; then session id, cipher suites and compression methods.
  let at = 5 + 4 + 2 + 32;
  at += 1 + (hello[at] ?? 0);
  at += 2 + hello.readUInt16BE(at);
  at += 1 + (hello[at] ?? 0);
  const extension = Buffer.from([0xfe, 0x0d, 0, 1, 0]);
  const out = Buffer.concat([hello, extension]);
  out.writeUInt16BE(out.readUInt16BE(3) + extension.length, 3);
  out.writeUIntBE(out.readUIntBE(6, 3) + extension.length, 6, 3);
  out.writeUInt16BE(out.readUInt16BE(at) + extension.length, at);
  return out;
}
