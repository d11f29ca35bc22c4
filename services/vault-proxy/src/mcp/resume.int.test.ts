/** An answer that is cut on its way, from a server of the official SDK that keeps its events, and from others. */
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { newId } from "@manyhands/kit";
import { Audience } from "@manyhands/protocol";
import { eventually } from "@manyhands/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startMcpServer, type TestMcpServer } from "../testing/mcp-server.ts";
import { startVaultProxy, type TestVaultProxy, WORKSPACE } from "../testing/start.ts";
import { json, shown } from "../testing/vault-calls.ts";

describe("a cut answer", () => {
  let vault: TestVaultProxy;
  let server: TestMcpServer;
  beforeAll(async () => {
    server = await startMcpServer({ resumable: true });
    vault = await startVaultProxy();
  });
  afterAll(async () => {
    await vault?.stop();
    await server?.close();
  });

  const sessionAt = async (url: string) => {
    const sessionId = newId("sesn");
    await vault.client.bindSession({ workspaceId: WORKSPACE, sessionId, mcpServers: [{ name: "s", url }] });
    return (await vault.client.mintSessionToken({ sessionId, audiences: [Audience.MCP] })).token;
  };
  const call = (token: string, name: string, text: string, operationId = newId("sevt")) =>
    vault.client.callTool({ token, operationId, mcpServerName: "s", name, inputJson: json({ text }) });

  it("is taken up again, as often as it is cut, and the call is made once", async () => {
    const token = await sessionAt(server.url);
    const running = call(token, "hold", "cut me");
    for (let cuts = 1; cuts <= 3; cuts += 1) {
      await eventually(() => server.holding() === 1);
      server.cut();
      await eventually(() => server.resumed.length >= cuts);
    }
    server.release();
    const answer = await running;
    expect(answer).toMatchObject({ outcome: "COMPLETED", isError: false });
    expect(shown(answer.contentJson)).toEqual([{ type: "text", text: "held cut me" }]);
    expect(server.written.filter((text) => text === "cut me")).toHaveLength(1);
  });

  it("that ended while nobody listened is there when it is asked for", async () => {
    const token = await sessionAt(server.url);
    const before = server.resumed.length;
    const running = call(token, "hold", "ended alone");
    await eventually(() => server.holding() === 1);
    server.cut();
    server.release();
    expect(await running).toMatchObject({ outcome: "COMPLETED" });
    expect(server.resumed.length).toBeGreaterThan(before);
  });

  it("can still be stopped while it is taken up again", async () => {
    const token = await sessionAt(server.url);
    const operationId = newId("sevt");
    const before = server.cancelled();
    const running = call(token, "hold", "stop me", operationId);
    await eventually(() => server.holding() === 1);
    server.cut();
    await vault.client.cancelTool({ token, operationId });
    expect(await running).toMatchObject({ outcome: "KILLED" });
    await eventually(() => server.cancelled() === before + 1);
  });

  it("of a server without ids is unknown, and nothing is sent again", async () => {
    const forgetful = await startMcpServer();
    try {
      const running = call(await sessionAt(forgetful.url), "hold", "lost");
      await eventually(() => forgetful.holding() === 1);
      forgetful.cut();
      expect(await running).toMatchObject({ outcome: "UNKNOWN", isError: true });
      expect(forgetful.written).toEqual(["lost"]);
      expect(forgetful.resumed).toEqual([]);
    } finally {
      forgetful.release();
      await forgetful.close();
    }
  });

  describe("of a hostile server", () => {
    let calls = 0;
    const lastIds: string[] = [];
    let resume: (response: ServerResponse) => void = () => undefined;
    const evil = createServer((request, response) => {
      if (request.method === "GET") {
        lastIds.push(String(request.headers["last-event-id"] ?? ""));
        return resume(response);
      }
      let text = "";
      request.on("data", (chunk: Buffer) => (text += chunk.toString()));
      request.on("end", () => {
        const { id, method } = JSON.parse(text || "{}");
        if (id === undefined) return response.writeHead(202).end();
        if (method === "initialize") {
          const result = { protocolVersion: "2025-11-25", capabilities: { tools: {} }, serverInfo: {} };
          response.writeHead(200, { "content-type": "application/json" });
          return response.end(JSON.stringify({ jsonrpc: "2.0", id, result }));
        }
        calls += 1;
        response.writeHead(200, { "content-type": "text/event-stream" });
        return response.end("id: e1\nretry: 1\ndata:\n\n");
      });
    });
    beforeAll(() => new Promise<void>((resolve) => evil.listen(0, "127.0.0.1", resolve)));
    afterAll(() => {
      evil.closeAllConnections();
      evil.close();
    });
    const stream = (response: ServerResponse, text: string) =>
      response.writeHead(200, { "content-type": "text/event-stream" }).end(text);

    it.each<[string, (response: ServerResponse) => void, number]>([
      ["refuses to go on", (response) => void response.writeHead(404).end(), 1],
      ["sends elsewhere", (response) => void response.writeHead(302, { location: "/other" }).end(), 1],
      ["goes on in another form", (response) => void response.writeHead(200, { "content-type": "text/html" }).end(), 1],
      ["goes on with nothing for ever", (response) => void stream(response, ": nothing\n\n"), 6],
      ["breaks for ever", (response) => void response.destroy(), 6],
    ])("that %s is given up soon, and called once", async (_, act, most) => {
      calls = 0;
      lastIds.length = 0;
      resume = act;
      const { port } = evil.address() as AddressInfo;
      const answer = await call(await sessionAt(`http://127.0.0.1:${port}/mcp`), "write", "x");
      expect(answer).toMatchObject({ outcome: "UNKNOWN", isError: true });
      expect(calls).toBe(1);
      expect(lastIds.length).toBeGreaterThanOrEqual(1);
      expect(lastIds.length).toBeLessThanOrEqual(most);
      expect(new Set(lastIds)).toEqual(new Set(["e1"]));
    });
  });
});
