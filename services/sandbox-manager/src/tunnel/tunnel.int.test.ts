/** Bytes from a process in a hand to a listener outside and back, through the agent and the manager. */
import { randomBytes } from "node:crypto";
import type { Socket } from "node:net";
import { newId, silentLogger } from "@manyhands/kit";
import { startGitServer } from "@manyhands/testkit";
import Docker from "dockerode";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createDockerDriver } from "../drivers/docker/docker-driver.ts";
import { collect, run, shell, spec, testPlan } from "../drivers/driver.contract.ts";
import type { Driver, Hand, TunnelDialer } from "../drivers/driver.ts";
import { dialTo, listen, smallGitProxy } from "../testing/git-way-out.ts";
import { agentBinary, DEBIAN_IMAGE, ensureTestImages } from "../testing/test-images.ts";

const socketPath = "/var/run/docker.sock";
const plan = testPlan();
let driver: Driver;
let hand: Hand;
let dial: TunnelDialer = () => Promise.reject(new Error("no listener in this test"));

beforeAll(async () => {
  await ensureTestImages(new Docker({ socketPath }));
  driver = await createDockerDriver({
    socketPath,
    image: DEBIAN_IMAGE,
    agentPath: await agentBinary(),
    instance: "tunnel",
    platform: newId("plat"),
    logger: silentLogger(),
    dial: (sessionId, handId) => dial(sessionId, handId),
  });
  hand = await driver.provision(plan);
}, 300_000);

afterAll(async () => {
  await driver?.destroy(plan.handId);
});

/** Sends standard input's size in random bytes, half-closes, and prints how many bytes came back and their hash. */
const CLIENT = (bytes: number) => `python3 -c "
import socket, hashlib, threading
s = socket.create_connection(('127.0.0.1', 8079), 10)
data = bytes(i * 31 % 251 for i in range(1000)) * ${bytes / 1000}
def send():
    s.sendall(data); s.shutdown(socket.SHUT_WR)
threading.Thread(target=send).start()
h = hashlib.sha256(); n = 0
while True:
    b = s.recv(65536)
    if not b: break
    h.update(b); n += len(b)
print(n, h.hexdigest() == hashlib.sha256(data).hexdigest())"`;

test("megabytes go out and come back exactly, with a half-close, while the hand's own bytes follow the preamble", async () => {
  let first = "";
  const { server, port } = await listen((socket) => {
    let preamble = Buffer.alloc(0);
    socket.on("data", (chunk: Buffer) => {
      if (first === "") {
        preamble = Buffer.concat([preamble, chunk]);
        const end = preamble.indexOf("\n");
        if (end < 0) return;
        first = preamble.toString("latin1", 0, end + 1);
        socket.write(preamble.subarray(end + 1));
      } else if (!socket.write(chunk)) {
        socket.pause();
        socket.once("drain", () => socket.resume());
      }
    });
    socket.on("end", () => socket.end());
    socket.on("error", () => undefined);
  });
  dial = dialTo(port, "MANYHANDS/1 token-of-the-session\r\n");
  try {
    const { output } = await run(hand, shell(CLIENT(5_000_000)));
    expect(output.toString()).toBe("5000000 True\n");
    expect(first).toBe("MANYHANDS/1 token-of-the-session\r\n");
  } finally {
    server.close();
  }
});

test("a peer that reads nothing stalls its own connection only", async () => {
  const sockets: Socket[] = [];
  const stalled = await listen((socket) => {
    socket.pause();
    socket.on("error", () => undefined);
    sockets.push(socket);
  });
  dial = dialTo(stalled.port, "");
  const flood = `python3 -c "
import socket
s = socket.create_connection(('127.0.0.1', 8079)); s.settimeout(2); n = 0
try:
    while n < 50_000_000: n += s.send(b'x' * 65536)
except TimeoutError: print('stalled')"`;
  try {
    const flooding = await hand.start(spec({ kind: "exec", argv: ["sh", "-c", flood] }));
    expect((await run(hand, shell("echo alive"))).output.toString()).toBe("alive\n");
    expect((await collect(flooding.parts)).output.toString()).toBe("stalled\n");
  } finally {
    for (const socket of sockets) socket.destroy();
    stalled.server.close();
  }
});

test("where nobody listens outside, the connection inside is reset, and the reason stays outside", async () => {
  dial = () => Promise.reject(new Error("the vault-proxy is away"));
  const probe = `python3 -c "
import socket
try: print(socket.create_connection(('127.0.0.1', 8079), 5).recv(10))
except OSError as e: print(type(e).__name__)"`;
  expect((await run(hand, shell(probe))).output.toString()).toMatch(/^(b''|ConnectionResetError)\n$/);
});

test("plain git clones and pushes through the tunnel with an ordinary URL; no credential is in the hand", async () => {
  const token = randomBytes(16).toString("hex");
  const git = await startGitServer({ repositories: { app: { "README.md": "hello\n" } }, token });
  const proxy = await smallGitProxy(git, token);
  dial = dialTo(proxy.port, "MANYHANDS/1 x\r\n");
  const url = git.repoUrl("app");
  const script = `git clone -q ${url} /workspace/app && cd /workspace/app && echo line >> README.md && git commit -qam change && git push -q && git config remote.origin.url`;
  try {
    const { output, state } = await run(hand, shell(`${script} 2>&1`), { timeoutMs: 30_000 });
    expect({ text: output.toString(), code: state.exitCode }).toEqual({ text: `${url}\n`, code: 0 });
    expect((await git.log("app")).map(({ subject, author }) => [subject, author])[0]).toEqual([
      "change",
      expect.stringContaining("Agent"),
    ]);
    const search = (text: string) =>
      `cat $(find /workspace /home/hand /tmp -type f) /proc/[0-9]*/environ 2>/dev/null | grep -ac '${text}'`;
    expect((await run(hand, shell(search(token)))).output.toString()).toBe("0\n");
    expect((await run(hand, shell(search("GIT_TERMINAL_PROMP[T]")))).output.toString()).not.toBe("0\n"); // control
  } finally {
    proxy.server.close();
    await git.stop();
  }
});
