/** For tests: the real engine behind a socket that answers chosen requests with its failure 500. */
import { createServer, type IncomingMessage, request, type ServerResponse } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { newId } from "@manyhands/kit";

/** What a request is answered with; `done`: after the engine did what it was asked. */
export type Fault = { readonly message: string; readonly done: boolean };

/** Its socket, and the paths of the requests that failed. */
export type FaultyEngine = { readonly socketPath: string; readonly failed: readonly string[]; close(): void };

/** `faultOf` is asked about each request as `POST /containers/x/start`, in order. */
export async function startFaultyEngine(
  engineSocket: string,
  faultOf: (asked: string) => Fault | undefined,
): Promise<FaultyEngine> {
  const failed: string[] = [];
  const answer = (incoming: IncomingMessage, response: ServerResponse) => {
    const asked = `${incoming.method} ${incoming.url?.split("?")[0]}`;
    const fault = faultOf(asked);
    if (fault) failed.push(asked);
    const fail = ({ message }: Fault) => {
      response.writeHead(500, { "content-type": "application/json" });
      response.end(JSON.stringify({ message }));
    };
    if (fault && !fault.done) return fail(fault);
    const { method, url, headers } = incoming;
    const onward = request({ socketPath: engineSocket, method, path: url, headers }, (answered) => {
      if (!fault) response.writeHead(answered.statusCode ?? 500, answered.headers);
      if (!fault) answered.pipe(response);
      else answered.resume().once("end", () => fail(fault));
    });
    onward.once("error", () => response.destroy());
    incoming.pipe(onward);
  };
  const server = createServer(answer);
  server.on("upgrade", (incoming: IncomingMessage, socket: Duplex) => {
    const engine = connect(engineSocket);
    const headers = incoming.rawHeaders.reduce((text, word, index) => `${text}${word}${index % 2 ? "\r\n" : ": "}`, "");
    engine.write(`${incoming.method} ${incoming.url} HTTP/1.1\r\n${headers}\r\n`);
    for (const [one, other] of [
      [engine, socket],
      [socket, engine],
    ] as const) {
      one.pipe(other);
      one.once("error", () => other.destroy());
    }
  });
  const socketPath = join(tmpdir(), `${newId("engine")}.sock`);
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  return {
    socketPath,
    failed,
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}
