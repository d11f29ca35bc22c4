import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { APIError, RateLimitError } from "@anthropic-ai/sdk";
import { expect, it } from "vitest";
import { createAskMessages } from "./ask-messages.ts";

const request = { model: "m", max_tokens: 1, stream: true as const, messages: [] };

async function serving<T>(listener: RequestListener, use: (url: string) => Promise<T>): Promise<T> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo; // a TCP server's address is never text
  try {
    return await use(`http://127.0.0.1:${port}/prefix`);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

it("sends the library's headers and the token, and streams the answer, on connections that stay open", async () => {
  const ports = new Set<number | undefined>();
  const listener: RequestListener = async (incoming, response) => {
    ports.add(incoming.socket.remotePort);
    let body = "";
    for await (const chunk of incoming) body += String(chunk);
    const { authorization, "anthropic-version": version, "content-type": type } = incoming.headers;
    const seen = {
      type: "seen",
      url: incoming.url,
      authorization,
      hasVersion: version !== undefined,
      kind: type,
      body,
    };
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write(`event: message_start\ndata: ${JSON.stringify(seen)}\n\n`);
    setImmediate(() => response.end("event: ping\ndata: {}\n\n"));
  };
  await serving(listener, async (url) => {
    const ask = createAskMessages(url);
    for (let n = 0; n < 5; n += 1) {
      const events: unknown[] = [];
      for await (const event of await ask(request, `token-${n}`, new AbortController())) events.push(event);
      expect(events).toEqual([
        {
          type: "seen",
          url: "/prefix/v1/messages",
          authorization: `Bearer token-${n}`,
          hasVersion: true,
          kind: "application/json",
          body: JSON.stringify(request),
        },
      ]);
    }
    expect(ports.size).toBeLessThan(3); // one may still be reading the end of its answer when the next is needed
  });
});

it("fails with the library's errors, whatever the body of the answer is", async () => {
  const listener: RequestListener = (_, response) => {
    response.writeHead(429, { "retry-after": "7" });
    response.end(JSON.stringify({ type: "error", error: { type: "rate_limit_error", message: "slower" } }));
  };
  await serving(listener, async (url) => {
    const failed = createAskMessages(url)(request, "t", new AbortController());
    const error: unknown = await failed.catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(RateLimitError);
    expect(error).toMatchObject({ status: 429, message: expect.stringContaining("slower"), type: "rate_limit_error" });
    expect(error instanceof APIError && error.headers?.get("retry-after")).toBe("7");
  });
  await serving(
    (_, response) => response.writeHead(502).end("bad gateway"),
    async (url) => {
      const failed = createAskMessages(url)(request, "t", new AbortController());
      await expect(failed).rejects.toMatchObject({ status: 502, message: "502 bad gateway" });
    },
  );
});

it("ends when it is aborted, before the answer and in the middle of it", async () => {
  let isMiddle = false;
  const listener: RequestListener = (_, response) => {
    if (isMiddle) response.writeHead(200).write("event: message_start\ndata: {}\n\n");
  };
  await serving(listener, async (url) => {
    const ask = createAskMessages(url);
    const before = new AbortController();
    const waiting = ask(request, "t", before);
    before.abort();
    await expect(waiting).rejects.toThrow();
    isMiddle = true;
    const middle = new AbortController();
    const seen: unknown[] = [];
    for await (const event of await ask(request, "t", middle)) {
      seen.push(event);
      middle.abort();
    }
    expect(seen).toEqual([{}]);
  });
});

it("fails when nobody listens", async () => {
  const gone = await serving(
    (_, response) => response.end(),
    async (url) => url,
  );
  await expect(createAskMessages(gone)(request, "t", new AbortController())).rejects.toMatchObject({
    code: "ECONNREFUSED",
  });
});
