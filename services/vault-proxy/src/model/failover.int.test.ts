import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import Anthropic from "@anthropic-ai/sdk";
import { newId } from "@manyhands/kit";
import { Audience } from "@manyhands/protocol";
import { eventually } from "@manyhands/testkit";
import { afterEach, beforeEach, expect, it } from "vitest";
import { addressOf, startVaultProxy, type TestVaultProxy, WORKSPACE } from "../testing/start.ts";

let upstream: Server;
let vault: TestVaultProxy;
const seen: { key: string; body: string; path: string }[] = [];
/** Status by key; 200 unless named. */
const answers = new Map<string, number>();

beforeEach(async () => {
  seen.length = 0;
  answers.clear();
  upstream = createServer((request, response) => {
    let body = "";
    request.on("data", (chunk: Buffer) => (body += chunk.toString()));
    request.on("end", () => {
      const key = String(request.headers["x-api-key"]);
      seen.push({ key, body, path: request.url ?? "" });
      const status = answers.get(key) ?? 200;
      response.writeHead(status, {
        "content-type": "application/json",
        ...(status === 429 ? { "retry-after": "60" } : {}),
      });
      if (request.url === "/v1/models") return response.end('{"data":[],"has_more":false}');
      if (request.url?.endsWith("count_tokens")) return response.end('{"input_tokens":7}');
      response.end(
        '{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[],"stop_reason":"end_turn","usage":{"input_tokens":11,"cache_read_input_tokens":5,"output_tokens":3}}',
      );
    });
  });
  await new Promise<void>((resolve) => upstream.listen(0, "127.0.0.1", resolve));
  const upstreamUrl = `http://127.0.0.1:${(upstream.address() as AddressInfo).port}`;
  vault = await startVaultProxy({ upstreamUrl, apiKey: ["platform-1", "platform-2"] });
});
afterEach(async () => {
  await vault.stop();
  upstream.closeAllConnections();
  await new Promise((resolve) => upstream.close(resolve));
});

async function model() {
  const { token } = await vault.client.mintSessionToken({ sessionId: newId("sesn"), audiences: [Audience.MODEL] });
  const client = new Anthropic({ baseURL: `http://${addressOf(vault.proxy, "model")}`, apiKey: token, maxRetries: 0 });
  return {
    client,
    say: () => client.messages.create({ model: "m", max_tokens: 5, messages: [{ role: "user", content: "hi" }] }),
  };
}
const keys = () => seen.map(({ key }) => key);

it.each([429, 401])(
  "goes on with the next key after %i, with the very same body, and lets the first one rest",
  async (status) => {
    const { say } = await model();
    answers.set("platform-1", status);
    expect((await say()).id).toBe("msg_1");
    expect(keys()).toEqual(["platform-1", "platform-2"]);
    expect(seen[0]?.body).toBe(seen[1]?.body);
    await say();
    expect(keys()).toEqual(["platform-1", "platform-2", "platform-2"]);
  },
);

it("passes the provider's own answer on when every key is in trouble", async () => {
  const { say } = await model();
  answers.set("platform-1", 429).set("platform-2", 429);
  await expect(say()).rejects.toMatchObject({ status: 429 });
  expect(keys()).toEqual(["platform-1", "platform-2"]);
});

it("does not repeat what another key would not help", async () => {
  const { say } = await model();
  answers.set("platform-1", 500);
  await expect(say()).rejects.toMatchObject({ status: 500 });
  expect(keys()).toEqual(["platform-1"]);
});

it("uses a workspace's own keys alone, until they are removed; their values never come back", async () => {
  const { say, client } = await model();
  const { modelKey } = await vault.client.createModelKey({
    workspaceId: WORKSPACE,
    displayName: "ours",
    key: "own-key-1",
  });
  await vault.client.createModelKey({ workspaceId: WORKSPACE, displayName: "", key: "own-key-2" });
  answers.set("own-key-1", 401);
  await say();
  await client.messages.countTokens({ model: "m", messages: [{ role: "user", content: "hi" }] });
  await client.models.list();
  expect(keys()).toEqual(["own-key-1", "own-key-2", "own-key-2", "own-key-2"]);
  const listed = await vault.client.listModelKeys({ workspaceId: WORKSPACE });
  expect(listed.modelKeys.map(({ displayName }) => displayName)).toEqual(["ours", ""]);
  for (const { id } of listed.modelKeys) await vault.client.deleteModelKey({ workspaceId: WORKSPACE, modelKeyId: id });
  await expect(
    vault.client.deleteModelKey({ workspaceId: WORKSPACE, modelKeyId: modelKey?.id ?? "" }),
  ).rejects.toMatchObject({
    kind: "notFound",
  });
  await say();
  expect(keys().at(-1)).toBe("platform-1");
  expect(
    JSON.stringify([listed, vault.audit, vault.logs], (_, value) =>
      typeof value === "bigint" ? String(value) : value,
    ),
  ).not.toContain("own-key");
});

it("counts the tokens of each answer for its session", async () => {
  const { say } = await model();
  await say();
  await eventually(() => vault.audit.some((used) => used.inputTokens === 16 && used.outputTokens === 3));
});
