import { existsSync } from "node:fs";
import { connect } from "node:net";
import { dirname } from "node:path";
import { describe, expect, test } from "vitest";
import { eventually } from "./eventually.ts";
import { type NatsNode, startNatsCluster } from "./nats-cluster.ts";

/** Makes a stream of three copies with nothing but the text protocol. */
function makeStream(node: NatsNode, name: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(node.port, "127.0.0.1");
    const body = JSON.stringify({ name, subjects: [`${name}.*`], num_replicas: 3, storage: "file" });
    let text = "";
    socket.once("error", reject);
    socket.setEncoding("utf8").on("data", (chunk: string) => {
      text += chunk;
      if (!/MSG reply[\s\S]*\}\r\n$/.test(text)) return;
      socket.destroy();
      resolve(text);
    });
    socket.write(`CONNECT {"verbose":false}\r\nSUB reply 1\r\n`);
    socket.write(`PUB $JS.API.STREAM.CREATE.${name} reply ${body.length}\r\n${body}\r\n`);
  });
}

describe("startNatsCluster", () => {
  test("three nodes have one leader; another leads when it is killed, and it comes back", async () => {
    const cluster = await startNatsCluster({ syncAlways: true });
    try {
      expect(cluster.urls.split(",")).toEqual(cluster.nodes.map((node) => node.url));
      const [first] = cluster.nodes;
      expect(first && (await makeStream(first, "S"))).toContain('"num_replicas":3');
      const leader = await cluster.leaderOf("S");
      expect(await Promise.all(cluster.nodes.map((node) => node.isLeaderOf("S")))).toEqual(
        cluster.nodes.map((node) => node === leader),
      );
      await leader.kill9();
      expect([leader.pid, await leader.isLeaderOf("S")]).toEqual([undefined, false]);
      const next = await eventually(async () => {
        const now = await cluster.leaderOf("S");
        return now !== leader && now;
      });
      await leader.restart();
      await cluster.ready();
      next.pause();
      expect(await next.isLeaderOf("S")).toBe(false);
      next.resume();
      await cluster.ready();
    } finally {
      await cluster.stop();
    }
    expect(cluster.nodes.map((node) => [node.pid, existsSync(dirname(node.dir))])).toEqual(
      cluster.nodes.map(() => [undefined, false]),
    );
    await cluster.stop();
  });
});
