import type { RawMessageStreamEvent } from "@anthropic-ai/sdk/resources/messages";
import { describe, expect, it } from "vitest";
import { ResponseBuilder } from "./response-builder.ts";

function build(events: readonly object[]) {
  const heard: string[] = [];
  let ids = 0;
  const listener = {
    started: (id: string, type: string) => heard.push(`${id} ${type}`),
    text: (id: string, index: number, text: string) => heard.push(`${id}[${index}] ${text}`),
  };
  const builder = new ResponseBuilder(
    listener,
    () => `e${++ids}`,
    () => 0,
  );
  for (const event of events) builder.add(event as RawMessageStreamEvent); // only the fields that are read
  return { response: builder.finish(), heard };
}

const start = (content_block: object) => ({ type: "content_block_start", index: 0, content_block });
const delta = (value: object) => ({ type: "content_block_delta", index: 0, delta: value });
const stop = { type: "content_block_stop", index: 0 };
const text = (value: string) => [start({ type: "text", text: "" }), delta({ type: "text_delta", text: value }), stop];
const tool = (...json: string[]) => [
  start({ type: "tool_use", id: "toolu_1", name: "bash", input: {} }),
  ...json.map((partial_json) => delta({ type: "input_json_delta", partial_json })),
  stop,
];
const whole = (...events: object[]) => [
  { type: "message_start", message: { usage: { input_tokens: 3, output_tokens: 1, cache_read_input_tokens: 2 } } },
  ...events,
  { type: "message_delta", delta: { stop_reason: "end_turn" }, usage: { output_tokens: 9 } },
  { type: "message_stop" },
];

describe("a stream", () => {
  it("gives consecutive text blocks one event, and previews them under its id", () => {
    const { response, heard } = build(whole(...text("a"), ...text("b"), ...tool("{}"), ...text("c")));
    expect(response?.blocks).toEqual([
      { type: "text", id: "e1", text: "a" },
      { type: "text", id: "e1", text: "b" },
      { type: "tool_use", id: "e2", name: "bash", input: {} },
      { type: "text", id: "e3", text: "c" },
    ]);
    expect(heard).toEqual(["e1 agent.message", "e1[0] a", "e1[1] b", "e3 agent.message", "e3[0] c"]);
  });

  it("keeps thinking and its signature byte for byte, and previews only that it began", () => {
    const thinking = [
      start({ type: "thinking", thinking: "", signature: "" }),
      delta({ type: "thinking_delta", thinking: "h" }),
      delta({ type: "thinking_delta", thinking: "m" }),
      delta({ type: "signature_delta", signature: "sig" }),
      stop,
    ];
    const { response, heard } = build(whole(...thinking, start({ type: "redacted_thinking", data: "xyz" }), stop));
    expect(response?.blocks).toEqual([
      { type: "thinking", id: "e1", thinking: "hm", signature: "sig" },
      { type: "redacted_thinking", id: "e2", data: "xyz" },
    ]);
    expect(heard).toEqual(["e1 agent.thinking", "e2 agent.thinking"]);
  });

  it("joins the pieces of a tool's input, and marks what is not a JSON object", () => {
    const inputOf = (...json: string[]) => build(whole(...tool(...json))).response?.blocks[0];
    expect(inputOf('{"comm', 'and":"ls"}')).toMatchObject({ input: { command: "ls" } });
    expect(inputOf()).toMatchObject({ input: {} });
    expect(inputOf('{"command":')).toMatchObject({ input: { _malformed_json: '{"command":' } });
    expect(inputOf("[1]")).toMatchObject({ input: { _malformed_json: "[1]" } });
  });

  it("counts cumulative usage once", () => {
    expect(build(whole(...text("a"))).response?.usage).toEqual({
      input_tokens: 3,
      output_tokens: 9,
      cache_read_input_tokens: 2,
      cache_creation_input_tokens: 0,
    });
  });

  it("is no response until it is whole", () => {
    expect(build(whole(...text("a")).slice(0, -1)).response).toBeUndefined();
  });
});
