import { once } from "node:events";
import { createServer, type ServerResponse } from "node:http";
import { connect } from "node:net";
import { Audience } from "@manyhands/protocol";
import { eventually } from "@manyhands/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { addressOf, startVaultProxy } from "./testing/start.ts";

describe("a stop", () => {
  const running: ServerResponse[] = [];
  const upstream = createServer((request, response) => {
    request.resume();
    response.writeHead(200).write("first ");
    running.push(response);
  });
  let upstreamUrl = "";
  beforeAll(async () => {
    upstream.listen(0, "127.0.0.1");
    await once(upstream, "listening");
    const address = upstream.address();
    upstreamUrl = `http://127.0.0.1:${typeof address === "object" && address ? address.port : 0}`;
  });
  afterAll(() => {
    upstream.closeAllConnections();
    upstream.close();
  });
  const open = async (address: string) => {
    const socket = connect(Number(address.split(":").at(-1)), "127.0.0.1");
    socket.on("error", () => undefined);
    await once(socket, "connect");
    return { socket, closed: once(socket, "close") };
  };

  it("lets a running stream end, records it, and waits for no silent connection", async () => {
    const vault = await startVaultProxy({ upstreamUrl });
    const { token } = await vault.client.mintSessionToken({ sessionId: "sesn_1", audiences: [Audience.MODEL] });
    const model = addressOf(vault.proxy, "model");
    const silent = await Promise.all([open(model), open(addressOf(vault.proxy, "git"))]);
    const tunnel = await open(addressOf(vault.proxy, "git"));
    tunnel.socket.write(`MANYHANDS/1 ${token}\r\n`);
    const response = await fetch(`http://${model}/v1/models`, { headers: { "x-api-key": token } });
    const stopped = vault.proxy.stop("test");
    await Promise.all([...silent, tunnel].map(({ closed }) => closed));
    await expect(fetch(`http://${model}/v1/models`)).rejects.toThrow();
    running[0]?.end("last");
    expect(await response.text()).toBe("first last");
    expect(await stopped).toMatchObject({ failed: [] });
    expect(vault.audit).toMatchObject([{ session: "sesn_1", outcome: "served", responseBytes: 10 }]);
    await vault.stop();
  });

  it("ends what does not end by itself at the drain deadline", async () => {
    const vault = await startVaultProxy({ upstreamUrl });
    const { token } = await vault.client.mintSessionToken({ sessionId: "sesn_2", audiences: [Audience.MODEL] });
    const url = `http://${addressOf(vault.proxy, "model")}/v1/models`;
    const response = await fetch(url, { headers: { "x-api-key": token } });
    const broken = expect(response.text()).rejects.toThrow();
    expect(await vault.proxy.stop("test")).toMatchObject({ failed: [] });
    await broken;
    await eventually(() => vault.audit.some(({ outcome }) => outcome !== "served"));
    await vault.stop();
  });
});
