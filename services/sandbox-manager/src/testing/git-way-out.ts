/** For tests: the far end of a hand's tunnel, without a vault. */
import { createServer as createHttpServer, request as httpRequest } from "node:http";
import { connect, createServer, type Server, type Socket } from "node:net";
import { freePort, type GitServer } from "@manyhands/testkit";
import type { TunnelDialer } from "../drivers/driver.ts";

/** A listener on a free port of loopback. */
export async function listen(onConnection: (socket: Socket) => void): Promise<{ server: Server; port: number }> {
  const port = await freePort();
  const server = createServer({ allowHalfOpen: true }, onConnection);
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  return { server, port };
}

/** As the git dialer does: one line that says who is asking, before the hand's own bytes. */
export function dialTo(port: number, preamble: string): TunnelDialer {
  return async () => {
    const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    await new Promise((resolve, reject) => socket.once("connect", resolve).once("error", reject));
    socket.write(preamble);
    return socket;
  };
}

/** What the git proxy does, in small: takes the preamble off and the real place out of the path, adds the credential. */
export function smallGitProxy(git: GitServer, token: string) {
  const base = new URL(git.url);
  const authorization = `Basic ${Buffer.from(`x:${token}`).toString("base64")}`;
  const http = createHttpServer((request, response) => {
    const path = (request.url ?? "").replace(`/http/${base.host}`, "");
    const headers = { ...request.headers, host: base.host, authorization };
    const onward = httpRequest(
      { host: base.hostname, port: base.port, path, method: request.method, headers },
      (answer) => {
        response.writeHead(answer.statusCode ?? 500, answer.headers);
        answer.pipe(response);
      },
    );
    request.pipe(onward);
  });
  return listen((socket) => {
    socket.once("readable", () => {
      const bytes: unknown = socket.read();
      const end = Buffer.isBuffer(bytes) ? bytes.indexOf("\n") : -1;
      if (!Buffer.isBuffer(bytes) || end < 0) return socket.destroy();
      socket.unshift(bytes.subarray(end + 1));
      http.emit("connection", socket);
    });
  });
}
