import { createHash, randomBytes } from "node:crypto";
import { connect, createServer, type OnReadOpts, type Socket } from "node:net";
import { text } from "node:stream/consumers";
import { afterAll, describe, expect, it } from "vitest";
import type { EgressRecord } from "./egress-audit.ts";
import { createReturnPath } from "./return-path.ts";
import type { Target } from "./target.ts";
import { runTunnel, type TunnelDeps } from "./tunnel.ts";

const ESTABLISHED = "HTTP/1.1 200 Connection Established\r\n\r\n";

describe("a tunnel without TLS", () => {
  const ends: Socket[] = [];
  afterAll(() => {
    for (const socket of ends) socket.destroy();
  });

  /** Two connected sockets. */
  const pair = (onread?: OnReadOpts) =>
    new Promise<[Socket, Socket]>((resolve) => {
      const server = createServer({ allowHalfOpen: true }, (accepted) => {
        server.close();
        ends.push(accepted, client);
        resolve([client, accepted]);
      });
      let client: Socket;
      server.listen(0, "127.0.0.1", () => {
        const address = server.address();
        client = connect({
          port: typeof address === "object" && address ? address.port : 0,
          allowHalfOpen: true,
          ...(onread ? { onread } : {}),
        });
      });
    });

  /** Runs a tunnel; answers both outer ends and how it ended. */
  async function run(port: number, explicit: boolean) {
    const target: Target = { host: "api.example.test", port, address: false };
    const [hand, client] = await pair();
    const back = createReturnPath();
    const [upstream, server] = await pair(back.onread);
    const requests: Target[] = [];
    const refusing: TunnelDeps = {
      dialer: {
        vet: async () => [],
        dial: async (wanted) => {
          requests.push(wanted);
          throw Object.assign(new Error("not dialled in this test"), { code: "ETEST" });
        },
      },
      ca: undefined,
      interceptor: { accept: () => Promise.reject(new Error("nothing to intercept")) },
      swapFor: async () => undefined,
    };
    let ended = "";
    const record: EgressRecord = {
      bytes: { sent: 0, received: 0 },
      request: () => record,
      used: () => undefined,
      refused: () => undefined,
      ended: (outcome) => {
        ended ||= outcome;
      },
    };
    const claims = { session: "sesn_1", workspace: "wrkspc_1", audiences: [], tokenId: "", expiresAtMs: 0 };
    const signal = new AbortController().signal;
    const head = Buffer.alloc(0);
    const done = runTunnel(refusing, { claims, target, explicit, client, head, upstream, back, signal, record });
    return { hand, server, requests, done, outcome: () => ended };
  }

  it("is refused on 443", async () => {
    const { hand, server, done, outcome } = await run(443, false);
    const toServer = text(server);
    hand.end("SSH-2.0-sneaky\r\n");
    expect(await text(hand)).toBe(ESTABLISHED);
    await done;
    expect(outcome()).toBe("refused");
    expect(await toServer.catch(() => "")).toBe("");
  });

  it("is HTTP on 80, request by request, for this host alone", async () => {
    const { hand, server, requests, done } = await run(80, false);
    const toServer = text(server);
    hand.write("GET / HTTP/1.1\r\nhost: evil.example.test\r\n\r\n");
    hand.end("GET / HTTP/1.1\r\nhost: api.example.test\r\nconnection: close\r\n\r\n");
    const answers = await text(hand);
    expect(answers).toContain("HTTP/1.1 421");
    await done;
    expect(requests.every(({ host }) => host === "api.example.test")).toBe(true);
    expect(await toServer.catch(() => "")).toBe("");
  });

  it("carries anything where the policy names the port, a server that speaks first too", async () => {
    const { hand, server, done, outcome } = await run(22, true);
    server.write("SSH-2.0-server\r\n");
    const answer = text(hand);
    hand.end("SSH-2.0-client\r\n");
    expect(await text(server)).toBe("SSH-2.0-client\r\n");
    server.end();
    expect(await answer).toBe(`${ESTABLISHED}SSH-2.0-server\r\n`);
    await done;
    expect(outcome()).toBe("served");
  });

  it("brings megabytes back exactly to a client that reads in fits and starts", async () => {
    const { hand, server, done } = await run(22, true);
    const bytes = randomBytes(8 * 1024 * 1024);
    server.end(bytes);
    const hash = createHash("sha256");
    let length = -ESTABLISHED.length;
    for await (const chunk of hand) {
      hash.update(length < 0 ? chunk.subarray(-length) : chunk);
      length += chunk.length;
      if (length % 3 === 0) await new Promise(setImmediate);
    }
    expect(length).toBe(bytes.length);
    expect(hash.digest("hex")).toBe(createHash("sha256").update(bytes).digest("hex"));
    hand.end();
    await done;
  });
});
