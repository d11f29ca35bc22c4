import { existsSync } from "node:fs";
import { connect } from "node:net";
import { describe, expect, test } from "vitest";
import { freePort } from "./free-port.ts";
import { findNatsServer } from "./nats-binary.ts";
import { startNatsServer } from "./nats-server.ts";
import { tempDir } from "./temp-dir.ts";

type Jsz = { readonly config: { readonly sync_always?: boolean; readonly store_dir: string } };

async function jsz(monitorUrl: string): Promise<Jsz> {
  return JSON.parse(await (await fetch(`${monitorUrl}/jsz`)).text());
}

/** Whether a process with this id exists. */
function lives(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** The first line a client of the server gets. */
function greeting(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("error", reject);
    socket.once("data", (data) => {
      socket.destroy();
      resolve(data.toString("utf8"));
    });
  });
}

describe("startNatsServer", () => {
  test("a real server with JetStream answers, and is gone with its folder after stop", async () => {
    const server = await startNatsServer();
    expect(server.url).toBe(`nats://127.0.0.1:${server.port}`);
    expect(await greeting(server.port)).toContain('"jetstream":true');
    expect((await jsz(server.monitorUrl)).config.store_dir.startsWith(server.dir)).toBe(true);
    const pid = server.pid ?? 0;
    await server.stop();
    expect([lives(pid), existsSync(server.dir), server.pid]).toEqual([false, false, undefined]);
    await server.stop();
  });

  test("it syncs always only when asked to", async () => {
    await using plain = await startNatsServer();
    await using safe = await startNatsServer({ syncAlways: true });
    expect((await jsz(plain.monitorUrl)).config.sync_always ?? false).toBe(false);
    expect((await jsz(safe.monitorUrl)).config.sync_always).toBe(true);
  });

  test("after SIGKILL it restarts on the same port and store", async () => {
    await using server = await startNatsServer();
    const pid = server.pid ?? 0;
    await server.kill9();
    expect(lives(pid)).toBe(false);
    await expect(greeting(server.port)).rejects.toThrow("ECONNREFUSED");
    await server.restart();
    expect(server.pid).not.toBe(pid);
    expect(await greeting(server.port)).toContain("INFO");
    expect(existsSync(server.dir)).toBe(true);
  });

  test("a given folder is used and never removed", async () => {
    await using dir = await tempDir();
    const port = await freePort();
    const server = await startNatsServer({ dir: dir.path, port });
    expect([server.dir, server.port]).toEqual([dir.path, port]);
    await server.stop();
    expect(existsSync(dir.path)).toBe(true);
  });

  test("a configuration it refuses is an error that shows the server's words, at once", async () => {
    const failed = startNatsServer({ config: "no_such_setting {", port: await freePort() });
    await expect(failed).rejects.toThrow(/did not become ready.*Unexpected EOF/s);
  });
});

describe("findNatsServer", () => {
  test("a binary that cannot be run is one clear message, not another binary", () => {
    expect(() => findNatsServer({ NATS_SERVER_BIN: "/nowhere/nats-server", PATH: process.env.PATH })).toThrow(
      /no nats-server of at least 2\.10 found.*\/nowhere\/nats-server \(cannot be run\)/s,
    );
  });

  test("a program that is no nats-server is not taken", () => {
    expect(() => findNatsServer({ NATS_SERVER_BIN: process.execPath })).toThrow("cannot be run");
  });
});
