import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, it } from "vitest";
import { createHttpFetch } from "./http-fetch.ts";

async function serving<T>(listener: RequestListener, use: (url: string) => Promise<T>): Promise<T> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo; // a TCP server's address is never text
  try {
    return await use(`http://127.0.0.1:${port}`);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

it("sends text and headers, and streams the answer as it comes, on a connection that stays open", async () => {
  const ports = new Set<number | undefined>();
  const listener: RequestListener = async (request, response) => {
    ports.add(request.socket.remotePort);
    let body = "";
    for await (const chunk of request) body += String(chunk);
    response.writeHead(201, { "x-told": request.headers["x-asked"] ?? "", "set-cookie": ["a=1", "b=2"] });
    response.write(`${request.method} ${request.url} `);
    setImmediate(() => response.end(body));
  };
  await serving(listener, async (url) => {
    const send = createHttpFetch();
    for (let n = 0; n < 3; n += 1) {
      const answer = await send(`${url}/v1?q=1`, {
        method: "POST",
        headers: { "X-Asked": "ü?".slice(1) },
        body: `text ü ${n}`,
      });
      expect([answer.status, answer.ok, answer.headers.get("x-told")]).toEqual([201, true, "?"]);
      expect(answer.headers.getSetCookie()).toEqual(["a=1", "b=2"]);
      expect(await answer.text()).toBe(`POST /v1?q=1 text ü ${n}`);
    }
    expect(ports.size).toBe(1);
  });
});

it("ends with the signal's reason, before the answer and in the middle of it", async () => {
  const listener: RequestListener = (request, response) => {
    if (request.url === "/middle") response.write("begun");
  };
  await serving(listener, async (url) => {
    const send = createHttpFetch();
    const before = new AbortController();
    const waiting = send(`${url}/before`, { signal: before.signal });
    before.abort(new Error("not wanted"));
    await expect(waiting).rejects.toThrow("not wanted");
    const middle = new AbortController();
    const answer = await send(`${url}/middle`, { signal: middle.signal });
    middle.abort(new Error("enough"));
    await expect(answer.text()).rejects.toThrow();
  });
});

it("fails when nobody listens, and refuses a body that is not text", async () => {
  const gone = await serving(
    (_, response) => response.end(),
    async (url) => url,
  );
  const send = createHttpFetch();
  await expect(send(gone)).rejects.toMatchObject({ code: "ECONNREFUSED" });
  expect(() => send(gone, { method: "POST", body: new Uint8Array(1) })).toThrow("must be text");
});
