/** Clients that hold connections by saying little (slow loris) or by opening many; each with what an honest one gets. */
import type { ServerResponse } from "node:http";
import { connect, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { eventually } from "@manyhands/testkit";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { type EgressBed, startEgressBed } from "../testing/egress-bed.ts";
import { rawExchange, statusOf } from "../testing/raw-http.ts";
import { addressOf, WORKSPACE } from "../testing/start.ts";
import { canary } from "../testing/vault-calls.ts";

const SHORT_MS = 500;
/** A record of 512 bytes that holds a ClientHello of 508. */
const HELLO_BEGUN = Buffer.from([0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc]);

describe("clients that take their time", () => {
  let bed: EgressBed;
  let token: string;
  let authority: string;

  beforeAll(async () => {
    bed = await startEgressBed({
      preambleMs: SHORT_MS,
      headersMs: SHORT_MS,
      firstBytesMs: SHORT_MS,
      silenceMs: 300_000,
    });
    const { client } = bed.vault;
    const { vault } = await client.createVault({ workspaceId: WORKSPACE, displayName: "keys" });
    const auth = {
      type: "environment_variable",
      secret_name: "API_KEY",
      secret_value: canary(),
      networking: { type: "limited", allowed_hosts: ["api.example.test"] },
    };
    const authJson = Buffer.from(JSON.stringify(auth));
    await client.createCredential({ workspaceId: WORKSPACE, vaultId: vault?.id ?? "", authJson });
    for (const session of ["sesn_slow", "sesn_other"]) {
      bed.policy(session, { type: "unrestricted" });
      await bed.bind(session, [vault?.id ?? ""]);
    }
    token = await bed.token("sesn_slow");
    authority = (await client.describeEgress({ sessionId: "sesn_slow" })).authorityPem;
  });
  afterAll(() => bed?.stop());
  afterEach(() => {
    bed.seen.length = 0;
    bed.answer = (_, response) => void response.writeHead(200, { "content-type": "text/plain" }).end("hello");
  });

  const dial = (door: "git" | "egress", first = "") => {
    const address = addressOf(bed.vault.proxy, door);
    // One that does not end its own side when the other one does.
    const port = Number(address.slice(address.lastIndexOf(":") + 1));
    const socket = connect({ host: "127.0.0.1", port, allowHalfOpen: true });
    socket.write(first);
    return socket;
  };
  const plain = () => `api.example.test:${bed.plainPort}`;
  const head = (more = "") => `GET http://${plain()}/ HTTP/1.1\r\nhost: ${plain()}\r\n${more}`;
  const honest = async (by = token) =>
    statusOf(
      await rawExchange(addressOf(bed.vault.proxy, "git"), `MANYHANDS/1 ${by}\r\n${head("connection: close\r\n")}\r\n`),
    );
  /** TLS to a host whose credential the session has, so that it ends at the proxy. */
  const inside = async (): Promise<TLSSocket> => {
    const { socket } = await bed.open(token, `api.example.test:${bed.tlsPort}`);
    const secure = connectTls({ socket, servername: "api.example.test", ca: [authority] });
    await new Promise((resolve, reject) => secure.once("secureConnect", resolve).once("error", reject));
    return secure;
  };
  /** One byte after the other, until the proxy has had enough of it. */
  const drip = async (client: Duplex) => {
    let text = "";
    let isOpen = true;
    client.on("data", (chunk: Buffer) => {
      text += chunk.toString("latin1");
    });
    client.on("error", () => undefined);
    client.once("close", () => {
      isOpen = false;
    });
    client.resume();
    while (isOpen) {
      client.write("a");
      await sleep(20);
    }
    return text;
  };

  const slow: [string, () => Duplex | Promise<Duplex>][] = [
    ["the first line of a hand's connection", () => dial("git", "MANYHANDS/1 ")],
    ["a request's head", () => dial("git", `MANYHANDS/1 ${token}\r\n${head("x-a: ")}`)],
    ["a request's first line", () => dial("git", `MANYHANDS/1 ${token}\r\nGET http://`)],
    ["CONNECT", () => dial("git", `MANYHANDS/1 ${token}\r\nCONNECT `)],
    ["the head of a second request", () => dial("git", `MANYHANDS/1 ${token}\r\n${head()}\r\n${head("x-a: ")}`)],
    ["a head at the egress proxy's own door", () => dial("egress", head("x-a: "))],
    [
      "what follows a refusal",
      () => dial("git", `MANYHANDS/1 ${token}\r\nCONNECT 10.0.0.1:443 HTTP/1.1\r\nhost: x\r\n\r\n`),
    ],
    [
      "a ClientHello",
      async () => write((await bed.open(token, `api.example.test:${bed.tlsPort}`)).socket, HELLO_BEGUN),
    ],
    ["a head inside TLS that ends here", async () => write(await inside(), "GET / HTTP/1.1\r\nx-a: ")],
    [
      "the head of a second request in there",
      async () => write(await inside(), "GET / HTTP/1.1\r\nhost: api.example.test\r\n\r\nGET / HTTP/1.1\r\nx-a: "),
    ],
  ];
  const write = <T extends Duplex>(client: T, text: string | Buffer): T => {
    client.write(text);
    return client;
  };

  it.concurrent.each(slow)("%s, byte by byte, is not waited for", async (name, open) => {
    const said = await drip(await open());
    expect(said.match(/^HTTP\/1\.1 200/g)?.length ?? 0).toBeLessThanOrEqual(name.includes("second") ? 1 : 0);
  });

  it("all of these at once keep nobody else waiting", async () => {
    const dripping = slow.flatMap(([, open]) => Array.from({ length: 5 }, async () => drip(await open())));
    expect(await honest(), "control").toBe(200);
    expect(await honest(await bed.token("sesn_other")), "control").toBe(200);
    await Promise.all(dripping);
  });

  it("control: a body and an answer may take longer than a head", async () => {
    // A line end is no beginning of a secret: what comes before it is not held back.
    const say = (response: ServerResponse, text: string) => response.writeHead(200).end(`${text}\n`);
    bed.answer = (_, response, body) => void sleep(2 * SHORT_MS).then(() => say(response, `got ${body}`));
    const request = "POST / HTTP/1.1\r\nhost: api.example.test\r\ncontent-length: 4\r\n\r\nab";
    const secure = write(await inside(), request);
    const outside = dial(
      "git",
      `MANYHANDS/1 ${token}\r\n${head("content-length: 4\r\n").replace("GET", "POST")}\r\nab`,
    );
    const texts = [secure, outside].map((client) => collected(client));
    await sleep(2 * SHORT_MS);
    for (const client of [secure, outside]) client.write("cd");
    for (const said of texts) await eventually(() => said.text.includes("got abcd"));
    secure.destroy();
    outside.destroy();
  });

  it("a hand that keeps connections and asks nothing more has 128, and others have theirs", async () => {
    const sockets: Socket[] = [];
    try {
      for (let n = 0; n < 128; n += 1) {
        const socket = dial("git", `MANYHANDS/1 ${token}\r\n${head()}\r\n`);
        sockets.push(socket);
        await new Promise((resolve) => socket.once("data", resolve));
      }
      expect(await honest()).toBe(429);
      expect(await honest(await bed.token("sesn_other")), "control").toBe(200);
    } finally {
      for (const socket of sockets) socket.destroy();
    }
    await eventually(async () => (await honest()) === 200);
  });
});

function collected(client: Duplex): { text: string } {
  const said = { text: "" };
  client.on("data", (chunk: Buffer) => {
    said.text += chunk.toString("latin1");
  });
  return said;
}
