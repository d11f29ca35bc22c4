import { clearedResult, openingText } from "./context/context-words.ts";
import type { Cut } from "./context/cut.ts";
import type { JsonObject, SessionEvent } from "./events.ts";
import { mcpToolName } from "./tool-policy.ts";
import {
  type Answer,
  type Input,
  inputBlocks,
  isNotEmpty,
  type ModelBlock,
  type ModelTurn,
  modelBlock,
  thinkingBlock,
  toolResult,
} from "./turn-blocks.ts";

const lost = "No result of this call was recorded. It may have run; verify before you repeat it.";

/** Writes events as turns: rules T1 to T4 of transcript.ts. */
export class TurnWriter {
  private readonly turns: ModelTurn[] = [];
  private assistant: ModelBlock[] = [];
  private uses: string[] = [];
  private readonly results = new Map<string, ModelBlock>();
  private inputs: Input[] = [];
  private readonly cleared: ReadonlySet<string>;

  constructor(cleared: ReadonlySet<string>) {
    this.cleared = cleared;
  }

  /** Says what stands instead of the part that is left out. */
  open(cut: Cut, canRecall: boolean): void {
    const words: ModelBlock = { type: "text", text: openingText(cut, canRecall) };
    this.say("user", [words, ...cut.task.flatMap(inputBlocks)]);
  }

  add(event: SessionEvent): void {
    switch (event.type) {
      case "user.message":
      case "user.define_outcome":
      case "system.message":
      case "push.settled":
        this.inputs.push(event);
        break;
      case "span.model_request_start":
        if (event.purpose === undefined) this.endUserTurn(event.context_position);
        break;
      case "agent.thinking":
        this.assistant.push(thinkingBlock(event));
        break;
      case "agent.message":
        this.assistant.push(...event.content.filter(isNotEmpty).map(modelBlock));
        break;
      case "agent.tool_use":
      case "agent.custom_tool_use":
        this.addUse(event.id, event.name, event.input);
        break;
      case "agent.mcp_tool_use":
        this.addUse(event.id, mcpToolName(event.mcp_server_name, event.name), event.input);
        break;
      case "agent.tool_result":
      case "user.tool_result":
        this.addResult(event.tool_use_id, event, event.position);
        break;
      case "agent.mcp_tool_result":
        this.addResult(event.mcp_tool_use_id, event, event.position);
        break;
      case "user.custom_tool_result":
        this.addResult(event.custom_tool_use_id, event, event.position);
        break;
      default:
        break; // not part of the conversation
    }
  }

  /** Closes the response before it, then says what the user and the tools said before `position`. */
  endUserTurn(position: number): void {
    this.endAssistantTurn();
    const said = this.inputs.filter((input) => input.position < position);
    this.inputs = this.inputs.filter((input) => input.position >= position);
    const results = this.uses.map(
      (id) => this.results.get(id) ?? toolResult(id, { content: [{ type: "text", text: lost }], is_error: true }),
    );
    this.uses = [];
    this.say("user", [...results, ...said.filter((input) => input.type !== "system.message").flatMap(inputBlocks)]);
    const system = said.filter((input) => input.type === "system.message").flatMap(inputBlocks);
    if (system.length > 0) this.turns.push({ role: "system", content: system });
  }

  finish(): ModelTurn[] {
    return this.turns;
  }

  private endAssistantTurn(): void {
    const isSpoken = this.assistant.some((block) => block.type === "text" || block.type === "tool_use");
    if (isSpoken) this.say("assistant", this.assistant);
    this.assistant = [];
  }

  private addUse(id: string, name: string, input: JsonObject): void {
    if (this.uses.includes(id)) return;
    this.uses.push(id);
    this.assistant.push({ type: "tool_use", id, name, input });
  }

  private addResult(id: string, answer: Answer, position: number): void {
    if (!this.uses.includes(id) || this.results.has(id)) return;
    const shown = this.cleared.has(id) ? clearedResult(answer, position) : answer;
    this.results.set(id, toolResult(id, shown));
  }

  /** Adds to the turn of that role when nobody else spoke since, else begins a new one. */
  private say(role: "user" | "assistant", content: ModelBlock[]): void {
    if (content.length === 0) return;
    const last = this.turns.findLast((turn) => turn.role !== "system");
    if (last?.role === role) last.content.push(...content);
    else if (last === undefined && role === "assistant")
      return; // a conversation begins with the user
    else this.turns.push({ role, content });
  }
}
