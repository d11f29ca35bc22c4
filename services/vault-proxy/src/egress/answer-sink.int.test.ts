import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import { setImmediate as turn } from "node:timers/promises";
import { eventually } from "@manyhands/testkit";
import { afterAll, beforeAll, expect, it } from "vitest";
import { answerSink } from "./answer-sink.ts";
import { replacer } from "./replace.ts";

const ended: ("served" | "failed")[] = [];
let answer: (request: IncomingMessage, response: ServerResponse) => AsyncIterable<Buffer>;
let scrub: Parameters<typeof answerSink>[2];
let counted = 0;
const server = createServer((request, response) => {
  const body = answer(request, response);
  response.flushHeaders();
  const onBytes = (length: number) => {
    counted += length;
  };
  const sink = answerSink(response, onBytes, scrub);
  pipeline(Readable.from(body), sink).then(
    () => ended.push("served"),
    () => ended.push("failed"),
  );
});
beforeAll(async () => {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});
const port = () => (server.address() as AddressInfo).port;

/** In pieces of these sizes over and over, a few of them in each turn of the loop. */
async function* inPieces(bytes: Buffer, sizes: readonly number[]): AsyncGenerator<Buffer> {
  for (let at = 0, n = 0; at < bytes.length; n += 1) {
    const size = sizes[n % sizes.length] ?? 1;
    yield bytes.subarray(at, at + size);
    at += size;
    if (n % 5 === 0) await turn();
  }
}

it.each([
  ["by chunks made here", {}],
  ["by its length", { "content-length": "3000000" }],
])("brings every byte of a long answer %s, and the next one on the same connection", async (_, headers) => {
  const bytes = randomBytes(3_000_000);
  for (const sizes of [[16_384], [1, 70_000, 3, 200_000, 32_768], [700]]) {
    counted = 0;
    answer = (_request, response) => {
      response.writeHead(200, headers);
      return inPieces(bytes, sizes);
    };
    const got = Buffer.from(await (await fetch(`http://127.0.0.1:${port()}/`)).arrayBuffer());
    expect([got.length, got.equals(bytes), counted]).toEqual([bytes.length, true, bytes.length]);
  }
});

it("answers requests that came together in their order, and a client of HTTP/1.0 without chunks", async () => {
  const bytes = Buffer.alloc(300_000, "abc");
  answer = ({ url = "" }) => inPieces(Buffer.concat([Buffer.from(url), bytes]), [url === "/slow" ? 900 : 90_000]);
  const request = (path: string, rest: string) => `GET ${path} HTTP/1.1\r\nhost: x\r\n${rest}\r\n`;
  const socket = connect(port(), "127.0.0.1");
  socket.write(request("/slow", "") + request("/quick", "connection: close\r\n"));
  const text = (await buffer(socket)).toString("latin1");
  const bodies = text
    .split(/HTTP\/1\.1 200 OK\r\n/)
    .slice(1)
    .map(unchunk);
  expect(bodies).toEqual([`/slow${bytes.toString()}`, `/quick${bytes.toString()}`]);
  const older = connect(port(), "127.0.0.1");
  older.write("GET /old HTTP/1.0\r\n\r\n");
  expect((await buffer(older)).toString("latin1").split("\r\n\r\n")[1]).toBe(`/old${bytes.toString()}`);
});

it("takes secrets out on the way, wherever the pieces are cut, also at the very end", async () => {
  const [from, to] = [Buffer.from("top-secret"), Buffer.from("mhph_1")];
  const whole = `${"so top-secret ".repeat(50_000)}top-secre`;
  answer = () => inPieces(Buffer.from(whole), [1, 70_000, 9, 13]);
  scrub = replacer([{ from, to }]);
  const got = await (await fetch(`http://127.0.0.1:${port()}/`)).text();
  scrub = undefined;
  expect(got === whole.replaceAll("top-secret", "mhph_1")).toBe(true);
});

it("fails when the client goes away in the middle", async () => {
  answer = () => inPieces(Buffer.alloc(64 * 1024 * 1024), [65_536]);
  ended.length = 0;
  const socket = connect(port(), "127.0.0.1");
  socket.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
  await once(socket, "data");
  socket.destroy();
  await eventually(() => ended.length > 0);
  expect(ended).toEqual(["failed"]);
});

function unchunk(answered: string): string {
  let rest = answered.slice(answered.indexOf("\r\n\r\n") + 4);
  let body = "";
  for (;;) {
    const line = rest.indexOf("\r\n");
    const size = Number.parseInt(rest.slice(0, line), 16);
    if (!(size > 0)) return body;
    body += rest.slice(line + 2, line + 2 + size);
    rest = rest.slice(line + 2 + size + 2);
  }
}
