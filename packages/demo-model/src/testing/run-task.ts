import type Anthropic from "@anthropic-ai/sdk";
import type { HandResult, LocalHand } from "./local-hand.ts";
import { TOOLS } from "./toolset.ts";

/** Decides what becomes of a call: undefined runs it, `before`/`after` fail it without or after running it. */
export type Trouble = (
  call: number,
  hand: LocalHand,
) => Promise<"lost-before" | "lost-after" | undefined> | "lost-before" | "lost-after" | undefined;

const LOST: HandResult = {
  text: "The sandbox was lost while this ran, so its outcome is unknown: it may have completed, partly completed, or not run. Verify before repeating it.",
  isError: true,
};

/** Plays a harness: asks the model, runs its tool calls on the hand, until the model ends its turn. */
export async function runTask(
  client: Anthropic,
  hand: LocalHand,
  text: string,
  trouble: Trouble = () => undefined,
): Promise<{ calls: number; text: string; messages: Anthropic.MessageParam[] }> {
  const messages: Anthropic.MessageParam[] = [{ role: "user", content: text }];
  let calls = 0;
  for (let turn = 0; turn < 60; turn += 1) {
    const params = { model: "claude-demo", max_tokens: 4000, messages, tools: TOOLS };
    const answer = await client.messages
      .stream({ ...params, thinking: { type: "enabled", budget_tokens: 1024 } })
      .finalMessage();
    messages.push({ role: "assistant", content: answer.content });
    if (answer.stop_reason !== "tool_use") {
      return {
        calls,
        text: answer.content.map((block) => (block.type === "text" ? block.text : "")).join(""),
        messages,
      };
    }
    const results: Anthropic.ToolResultBlockParam[] = [];
    for (const block of answer.content) {
      if (block.type !== "tool_use") continue;
      calls += 1;
      const fate = await trouble(calls, hand);
      const input = block.input as Record<string, unknown>; // The server's own schema says it is an object.
      let result = LOST;
      if (fate !== "lost-before") result = await hand.execute(block.name, input);
      if (fate === "lost-after") result = LOST;
      if (fate !== undefined) await hand.lose();
      results.push({ type: "tool_result", tool_use_id: block.id, content: result.text, is_error: result.isError });
    }
    messages.push({ role: "user", content: results });
  }
  throw new Error("the task did not end within 60 turns");
}
