import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Preamble, readPreamble } from "./preamble.ts";

describe("the first line of a connection", () => {
  let server: Server;
  let port = 0;
  let onSocket: (socket: Socket) => void = () => undefined;
  beforeAll(async () => {
    server = createServer((socket) => onSocket(socket.on("error", () => undefined)));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const address = server.address();
    port = typeof address === "object" && address ? address.port : 0;
  });
  afterAll(() => server.close());

  const read = async (act: (client: Socket) => void, limits = { bytes: 64, timeMs: 2000 }) => {
    const socket = new Promise<Socket>((resolve) => {
      onSocket = resolve;
    });
    const client = connect(port, "127.0.0.1");
    client.on("error", () => undefined);
    act(client);
    const accepted = await socket;
    const preamble: Preamble | undefined = await readPreamble(accepted, limits);
    return { preamble, accepted, client };
  };

  it("gives back to the connection exactly what follows", async () => {
    const { preamble, accepted, client } = await read((socket) => socket.end("MANYHANDS/1 abc\r\nGET / x\r\n\r\n"));
    expect(preamble).toEqual({ ok: true, token: "abc" });
    let rest = "";
    accepted.on("data", (chunk: Buffer) => {
      rest += chunk.toString();
    });
    accepted.resume();
    await once(accepted, "end");
    expect(rest).toBe("GET / x\r\n\r\n");
    client.destroy();
  });

  it("ends waiting for a line that does not come, or does not end", async () => {
    const slow = await read((socket) => void socket.write("MANY"), { bytes: 64, timeMs: 20 });
    expect(slow.preamble).toMatchObject({ ok: false, status: 408 });
    slow.client.destroy();
    const long = await read((socket) => void socket.write("M".repeat(65)));
    expect(long.preamble).toMatchObject({ ok: false, status: 400 });
    long.client.destroy();
  });

  it("says nothing when the peer goes away first", async () => {
    const { preamble } = await read((socket) => void socket.end("MANYHANDS/1 a"));
    expect(preamble).toBeUndefined();
  });
});
