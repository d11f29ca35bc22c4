import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseAgent } from "./agent-config.ts";
import type { Json } from "./events.ts";
import { hasLongResult, longResultNote, resultPart, resultText, shownTextBytes } from "./long-result.ts";
import { judgeTool } from "./tool-policy.ts";

const part = (whole: string, offset: number, text = "", maxBytes = 100_000) =>
  resultPart(whole, { offset, text }, maxBytes);
const body = (answer: string) => answer.slice(answer.indexOf("\n") + 1);
const next = (answer: string) => Number(/Go on with offset (\d+)\./.exec(answer)?.[1] ?? Number.NaN);

describe("a part of a long result", () => {
  it("given offsets as each part names the next, all parts together are the whole, at the edges of characters", () => {
    const letters = fc.array(fc.constantFrom("a", "é", "€", "😀", "\n", "\uFEFF"), { minLength: 1, maxLength: 12 });
    fc.assert(
      fc.property(letters, fc.integer({ min: 4_000, max: 100_000 }), (unit, maxBytes) => {
        const whole = unit.join("").repeat(Math.ceil(60_000 / unit.length));
        let read = "";
        for (let at = 0; !Number.isNaN(at); ) {
          const answer = part(whole, at, "", maxBytes);
          expect(Buffer.byteLength(answer)).toBeLessThanOrEqual(Math.min(maxBytes, shownTextBytes));
          read += body(answer);
          at = next(answer);
        }
        expect(read === whole).toBe(true);
      }),
      { numRuns: 15 },
    );
  });

  it("given a text, begins shortly before the next place that has it, and says when there is none", () => {
    const whole = `${"é".repeat(100_000)}Needle 1${"x".repeat(100_000)}NEEDLE 2`;
    const first = part(whole, 0, "needle");
    expect(body(first)).toContain("Needle 1");
    expect(body(first).indexOf("Needle")).toBeLessThanOrEqual(200);
    const second = part(whole, next(first), "needle");
    expect(body(second)).toMatch(/NEEDLE 2$/);
    expect(second).toContain("This is its end.");
    expect(part(whole, 0, "nowhere")).toBe("From byte 0 on nothing has that text. The result has 300016 bytes.");
    expect(part(whole, 400_000)).toBe("[Bytes 300016 to 300016 of 300016. This is its end.]\n");
  });
});

describe("the note of a long result", () => {
  const content = [{ type: "text" as const, text: "shown" }, longResultNote("sevt_u", 300_000)];

  it("names the tool use, and is no part of the result", () => {
    expect(content[1]?.text).toContain('{"result_of":"sevt_u","offset":32768}');
    expect(resultText(content)).toBe("shown");
    expect(resultText(content.slice(0, 1))).toBe("shown");
  });

  it("is known in the log from its position on", () => {
    const result = { id: "sevt_r", type: "agent.mcp_tool_result" as const, mcp_tool_use_id: "sevt_u", is_error: false };
    const at = { at: 0, epoch: 1, outcome: "COMPLETED" as const };
    const short = { ...result, ...at, position: 5, content: content.slice(0, 1) };
    const long = { ...result, ...at, position: 8, content };
    expect([8, 9].map((position) => hasLongResult([short, long], position))).toEqual([false, true]);
    expect(hasLongResult([short], 9)).toBe(false);
  });

  it("allows the tool that it names to agents with MCP servers, unless they have one of that name", () => {
    const server = { mcp_servers: [{ type: "url", name: "s", url: "http://s" }] };
    const toolset = { type: "mcp_toolset", mcp_server_name: "s" };
    const own = { type: "custom", name: "recall", description: "x", input_schema: { type: "object" } };
    const judged = (tools: object[], servers: object) =>
      judgeTool(parseAgent({ model: { id: "m" }, tools, ...servers } as Json), "recall");
    expect(judged([toolset], server)).toEqual({ kind: "agent", permission: "allow" });
    expect(judged([toolset, own], server)).toEqual({ kind: "custom" });
    expect(judged([], {})).toEqual({ kind: "agent", permission: "deny" });
  });
});
