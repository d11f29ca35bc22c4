/** A model that asks for one tool call after another, so many times per session, and then says that it is done. */
import { once } from "node:events";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** What it does for one session, chosen by the text of the user's message. */
export interface ToolPlan {
  /** A piece of the user's text. */
  readonly text: RegExp;
  /** Tool calls before the end of the turn. */
  readonly calls: number;
  readonly input: Readonly<Record<string, string>>;
}

/** A running one. */
export interface ToolModel {
  readonly url: string;
  close(): Promise<void>;
}

/** Counts by what the request's text matches: each match is a session of its own. Remembers nothing of contexts. */
export async function startToolModel(plans: readonly ToolPlan[]): Promise<ToolModel> {
  const asked = new Map<string, number>();
  let ids = 0;
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const body = Buffer.concat(chunks).toString("utf8");
      const plan = plans.find(({ text }) => text.test(body));
      const key = plan?.text.exec(body)?.[0] ?? "";
      const count = (asked.get(key) ?? 0) + 1;
      asked.set(key, count);
      ids += 1;
      stream(
        response,
        plan !== undefined && count <= plan.calls ? { id: `toolu_${ids}`, input: plan.input } : undefined,
      );
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo; // a TCP server that listens has one
  return {
    url: `http://127.0.0.1:${port}`,
    async close() {
      server.close();
      server.closeAllConnections();
      await once(server, "close").catch(() => undefined);
    },
  };
}

function stream(response: ServerResponse, use: { readonly id: string; readonly input: object } | undefined): void {
  const usage = { input_tokens: 10, output_tokens: 5 };
  const send = (type: string, fields: object) =>
    response.write(`event: ${type}\ndata: ${JSON.stringify({ type, ...fields })}\n\n`);
  response.writeHead(200, { "content-type": "text/event-stream" });
  const message = { id: "msg_1", type: "message", role: "assistant", model: "demo-1", content: [], usage };
  send("message_start", { message: { ...message, stop_reason: null, stop_sequence: null } });
  if (use === undefined) {
    send("content_block_start", { index: 0, content_block: { type: "text", text: "" } });
    send("content_block_delta", { index: 0, delta: { type: "text_delta", text: "Done." } });
  } else {
    send("content_block_start", { index: 0, content_block: { type: "tool_use", id: use.id, name: "bash", input: {} } });
    const partial_json = JSON.stringify(use.input);
    send("content_block_delta", { index: 0, delta: { type: "input_json_delta", partial_json } });
  }
  send("content_block_stop", { index: 0 });
  const stop_reason = use === undefined ? "end_turn" : "tool_use";
  send("message_delta", { delta: { stop_reason, stop_sequence: null }, usage });
  send("message_stop", {});
  response.end();
}
