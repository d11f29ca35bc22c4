import type Anthropic from "@anthropic-ai/sdk";

type StreamEvent = Anthropic.Beta.Sessions.Events.BetaManagedAgentsStreamSessionEvents;

const maxResultLines = 12;
const maxLineChars = 160;

/** Prints what happens as it happens: text token by token, tool calls and the head of their results. */
export class EventPrinter {
  readonly #write: (text: string) => void;
  /** Messages whose text was printed token by token already. */
  readonly #streamed = new Set<string>();
  #inText = false;

  constructor(write: (text: string) => void) {
    this.#write = write;
  }

  /** Prints one event of the stream. */
  print(event: StreamEvent): void {
    if (event.type === "event_start") return;
    if (event.type === "event_delta") {
      this.#streamed.add(event.event_id);
      this.#inText = true;
      this.#write(event.delta.content.text);
      return;
    }
    if (this.#inText) this.#write("\n");
    this.#inText = false;
    const text = this.#describe(event);
    if (text !== "") this.#write(`${text}\n`);
  }

  /** A line of the demo's own. */
  note(text: string): void {
    if (this.#inText) this.#write("\n");
    this.#inText = false;
    this.#write(`\n*** ${text}\n\n`);
  }

  #describe(event: StreamEvent): string {
    switch (event.type) {
      case "agent.message":
        return this.#streamed.has(event.id) ? "" : event.content.map((b) => ("text" in b ? b.text : "")).join("\n");
      case "agent.tool_use":
        return `  → ${event.name} ${oneLine(toolSummary(event.input))}`;
      case "agent.tool_result":
        return indent(resultText(event.content), event.is_error === true ? "  ! " : "  | ");
      case "session.error":
        return `  ! ${event.error.type}: ${event.error.message}`;
      case "session.status_idle":
        return `  [idle: ${event.stop_reason.type}]`;
      default:
        return "";
    }
  }
}

function toolSummary(input: Record<string, unknown>): string {
  const main = input.command ?? input.file_path ?? input.pattern;
  return typeof main === "string" ? main : JSON.stringify(input);
}

function oneLine(text: string): string {
  const line = text.trim().replace(/\s*\n\s*/g, " ⏎ ");
  return line.length > maxLineChars ? `${line.slice(0, maxLineChars)} …` : line;
}

function resultText(content: readonly object[] | undefined): string {
  return (content ?? []).map((block) => ("text" in block ? String(block.text) : "[not text]")).join("\n");
}

function indent(text: string, prefix: string): string {
  const lines = text.trimEnd().split("\n");
  const shown = lines.slice(0, maxResultLines).map((line) => `${prefix}${line.slice(0, maxLineChars)}`);
  if (lines.length > maxResultLines) shown.push(`${prefix}… ${lines.length - maxResultLines} more lines`);
  return shown.join("\n");
}
