/** What a hostile hand, a hostile name server and a hostile API try on the egress proxy; each group has its control. */
import type { Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { realHello, withHiddenName } from "../testing/client-hello.ts";
import { type EgressBed, startEgressBed } from "../testing/egress-bed.ts";
import { rawExchange, statusOf } from "../testing/raw-http.ts";
import { addressOf, WORKSPACE } from "../testing/start.ts";
import { canary } from "../testing/vault-calls.ts";

const SECRET = canary();

describe("egress attacks", () => {
  let bed: EgressBed;
  let token: string;
  let placeholder: string;
  let authority: string;

  beforeAll(async () => {
    bed = await startEgressBed();
    const { client } = bed.vault;
    const { vault } = await client.createVault({ workspaceId: WORKSPACE, displayName: "keys" });
    const auth = {
      type: "environment_variable",
      secret_name: "API_KEY",
      secret_value: SECRET,
      networking: { type: "limited", allowed_hosts: ["api.example.test"] },
      injection_location: { header: true, body: true },
    };
    const authJson = Buffer.from(JSON.stringify(auth));
    await client.createCredential({ workspaceId: WORKSPACE, vaultId: vault?.id ?? "", authJson });
    for (const session of ["sesn_a", "sesn_b"]) {
      bed.policy(session, { type: "unrestricted" });
      await bed.bind(session, [vault?.id ?? ""]);
    }
    token = await bed.token("sesn_a");
    const described = await client.describeEgress({ sessionId: "sesn_a" });
    placeholder = described.variables[0]?.placeholder ?? "";
    authority = described.authorityPem;
  });
  afterAll(() => bed?.stop());
  afterEach(() => {
    bed.seen.length = 0;
    bed.names.clear();
    bed.answer = (_, response) => void response.writeHead(200, { "content-type": "text/plain" }).end("hello");
  });

  const hands = () => addressOf(bed.vault.proxy, "git");
  const raw = (bytes: string) => rawExchange(hands(), `MANYHANDS/1 ${token}\r\n${bytes}`);
  const plainGet = (host: string) => {
    const authorityOf = `${host}:${bed.plainPort}`;
    return raw(`GET http://${authorityOf}/ HTTP/1.1\r\nhost: ${authorityOf}\r\nconnection: close\r\n\r\n`);
  };
  const secured = async (request: string): Promise<string> => {
    const { socket } = await bed.open(token, `api.example.test:${bed.tlsPort}`);
    const secure = connectTls({ socket, servername: "api.example.test", ca: [authority] });
    return new Promise((resolve, reject) => {
      let text = "";
      secure.on("secureConnect", () => secure.write(request));
      secure.on("data", (chunk: Buffer) => {
        text += chunk.toString("latin1");
      });
      secure.on("error", reject);
      secure.on("close", () => resolve(text));
    });
  };
  const ask = (more = "", path = "/") =>
    secured(
      `GET ${path} HTTP/1.1\r\nhost: api.example.test\r\nx-key: ${placeholder}\r\n${more}connection: close\r\n\r\n`,
    );

  it("control: the honest requests get through, the key put in", async () => {
    expect(statusOf(await plainGet("api.example.test"))).toBe(200);
    expect(await ask()).toContain("hello");
    expect(bed.seen.map(({ headers }) => headers["x-key"])).toEqual([undefined, SECRET]);
  });

  it.each([
    ["NUL in the name", "CONNECT evil.test\0.example.test:443 HTTP/1.1\r\n\r\n"],
    ["an encoded NUL", "CONNECT evil.test%00.example.test:443 HTTP/1.1\r\nhost: x\r\n\r\n"],
    ["a user", "CONNECT user@api.example.test:443 HTTP/1.1\r\nhost: x\r\n\r\n"],
    ["a backslash", "CONNECT evil.test\\.example.test:443 HTTP/1.1\r\nhost: x\r\n\r\n"],
    ["a fragment", "CONNECT evil.test#.example.test:443 HTTP/1.1\r\nhost: x\r\n\r\n"],
    ["a label of 300 characters", `CONNECT ${"a".repeat(300)}.test:443 HTTP/1.1\r\nhost: x\r\n\r\n`],
    ["a zone", "CONNECT [fe80::1%25eth0]:443 HTTP/1.1\r\nhost: x\r\n\r\n"],
    ["no port", "CONNECT api.example.test HTTP/1.1\r\nhost: x\r\n\r\n"],
    ["port 0", "CONNECT api.example.test:0 HTTP/1.1\r\nhost: x\r\n\r\n"],
    ["port 65536", "CONNECT api.example.test:65536 HTTP/1.1\r\nhost: x\r\n\r\n"],
    ["another scheme", "GET ftp://api.example.test/ HTTP/1.1\r\nhost: api.example.test\r\n\r\n"],
    ["https without CONNECT", "GET https://api.example.test/ HTTP/1.1\r\nhost: api.example.test\r\n\r\n"],
  ])("a target with %s is refused", async (_, bytes) => {
    const status = statusOf(await raw(bytes));
    expect(status).toBeGreaterThanOrEqual(400);
    expect(status).toBeLessThan(500);
    expect(bed.seen).toEqual([]);
  });

  it("a name that leads outside when judged is not looked up again when dialled, and judged anew next time", async () => {
    let lookups = 0;
    bed.names.set("flip.test", () => {
      lookups += 1;
      // The listener is on this machine: what the bed calls public is 127.0.0.1.
      return [lookups === 1 ? "127.0.0.1" : "10.0.0.1"];
    });
    expect(statusOf(await plainGet("flip.test")), "control").toBe(200);
    expect(lookups).toBe(1);
    expect(statusOf(await plainGet("flip.test"))).toBe(403);
    expect(bed.seen).toHaveLength(1);
  });

  it.each([
    ["the metadata service in IPv6", ["fd00:ec2::254"]],
    ["another cloud's metadata service", ["100.100.100.200"]],
    ["a mapped private address", ["::ffff:192.168.0.1"]],
    ["a translated private address", ["64:ff9b::a00:1"]],
    ["nowhere", ["0.0.0.0"]],
    ["a public and a private address", ["93.184.216.34", "127.8.8.8", "10.0.0.1"]],
  ])("a name that leads to %s is refused", async (_, addresses) => {
    bed.names.set("cname.test", () => addresses);
    expect((await bed.open(token, "cname.test:443")).status).toBe(403);
    expect(statusOf(await plainGet("cname.test"))).toBe(403);
  });

  it("metadata services are refused where the policy names them", async () => {
    const names = ["metadata.google.internal", "169.254.169.254"];
    bed.policy("sesn_named", { type: "limited", allowed_hosts: ["api.example.test", ...names] });
    await bed.bind("sesn_named");
    const by = await bed.token("sesn_named");
    bed.names.set("metadata.google.internal", () => ["169.254.169.254"]);
    for (const name of names) {
      const { status, text } = await bed.open(by, `${name}:80`);
      expect([status, text]).toEqual([403, expect.stringContaining("not on the public internet")]);
    }
    const control = await bed.open(by, "api.example.test:443").catch(() => ({ status: 0 }));
    expect([200, 502], "control: allowed, whoever listens there").toContain(control.status);
  });

  it("a tunnel whose ClientHello may hide another name ends", async () => {
    const target = `api.example.test:${bed.tlsPort}`;
    const hello = await realHello("api.example.test");
    const answers = async (bytes: Buffer) => {
      const { socket } = await bed.open(token, target);
      let answered = 0;
      socket.on("data", (chunk: Buffer) => {
        answered += chunk.length;
      });
      socket.resume().write(bytes);
      await Promise.race([
        new Promise((resolve) => socket.once("close", resolve)),
        new Promise((resolve) => socket.once("data", resolve)),
      ]);
      socket.destroy();
      return answered > 0;
    };
    expect(await answers(hello), "control").toBe(true);
    expect(await answers(withHiddenName(hello))).toBe(false);
  });

  it.each([301, 302, 307, 308])(
    "a %i to another host is the hand's to follow, and the key stays behind",
    async (status) => {
      bed.answer = (request, response) =>
        request.headers.host?.startsWith("api.")
          ? void response
              .writeHead(status, { location: `http://other.example.test:${bed.plainPort}/?k=${SECRET}` })
              .end()
          : void response.writeHead(200).end();
      const answer = await ask();
      expect(bed.seen).toHaveLength(1);
      expect(answer).toContain(`location: http://other.example.test:${bed.plainPort}/?k=${placeholder}`);
      expect(answer).not.toContain(SECRET);
    },
  );

  it.each<[string, EgressBed["answer"]]>([
    ["a cookie", (_, response) => void response.writeHead(200, { "set-cookie": `s=${SECRET}; path=/` }).end("x")],
    ["two cookies", (_, response) => void response.writeHead(200, { "set-cookie": ["a=1", `s=${SECRET}`] }).end("x")],
    ["an error", (_, response) => void response.writeHead(500).end(`bad key ${SECRET}`)],
    [
      "a trailer",
      (_, response) => {
        response.writeHead(200, { trailer: "x-key" });
        response.write("x");
        response.addTrailers({ "x-key": SECRET });
        response.end();
      },
    ],
    ["a reason", (_, response) => void response.writeHead(400, `bad ${SECRET}`).end("x")],
  ])("an API that says the key in %s is not heard by the hand", async (_, answer) => {
    bed.answer = answer;
    const text = await ask();
    expect(bed.seen[0]?.headers["x-key"], "control").toBe(SECRET);
    expect(text).toMatch(/^HTTP\/1\.1 [245]00/);
    expect(text).not.toContain(SECRET);
  });

  it.each([
    ["two lengths", "content-length: 1\r\ncontent-length: 2\r\n"],
    ["length and chunks", "content-length: 1\r\ntransfer-encoding: chunked\r\n"],
    ["a folded header", "x-a: 1\r\n  2\r\n"],
    ["endless headers", `x-a: ${"a".repeat(20_000)}\r\n`],
    ["a second host", "host: evil.example.test\r\n"],
  ])("a request inside a tunnel with %s is refused", async (_, more) => {
    // Too long ones may be cut off without a word.
    expect(await ask(more)).toMatch(/^(HTTP\/1\.1 4\d\d|$)/);
    expect(bed.seen).toEqual([]);
  });

  it("a request for another target inside a tunnel is refused", async () => {
    const request = `GET http://evil.example.test/ HTTP/1.1\r\nhost: api.example.test\r\nconnection: close\r\n\r\n`;
    expect(await secured(request)).toMatch(/^HTTP\/1\.1 400/);
    expect(bed.seen).toEqual([]);
  });

  it("a session that opens connections without end has 64, and others have theirs", async () => {
    const target = `api.example.test:${bed.plainPort}`;
    const sockets: Socket[] = [];
    try {
      for (let n = 0; n < 64; n += 1) {
        const { status, socket } = await bed.open(token, target);
        expect(status).toBe(200);
        sockets.push(socket);
      }
      expect((await bed.open(token, target)).status).toBe(429);
      const other = await bed.open(await bed.token("sesn_b"), target);
      expect(other.status, "control").toBe(200);
      sockets.push(other.socket);
    } finally {
      for (const socket of sockets) socket.destroy();
    }
  });
});
