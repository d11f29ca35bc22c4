import type Anthropic from "@anthropic-ai/sdk";
import { SetupError } from "../setup-error.ts";
import type { Killer } from "./killer.ts";
import type { EventPrinter } from "./print-event.ts";

/** What was seen while the turn ran. */
export interface Turn {
  readonly stopReason: string;
  /** Milliseconds from sending the task to the first token, as a client sees it. */
  readonly firstTokenMs: number;
  readonly seconds: number;
  readonly toolCalls: number;
  readonly inputTokens: number;
  readonly outputTokens: number;
}

/** Sends the task and follows the session to the end of its turn: open the stream first, then send. */
export async function followTurn(
  client: Anthropic,
  options: { sessionId: string; task: string; killer: Killer; printer: EventPrinter; timeoutMs: number },
): Promise<Turn> {
  const { sessionId, task, killer, printer } = options;
  const late = AbortSignal.timeout(options.timeoutMs);
  const events = client.beta.sessions.events;
  const stream = await events.stream(
    sessionId,
    { event_deltas: ["agent.message", "agent.thinking"] },
    { signal: late },
  );
  const sent = performance.now();
  await events.send(sessionId, { events: [{ type: "user.message", content: [{ type: "text", text: task }] }] });
  let firstTokenMs = Number.NaN;
  const sum = { toolCalls: 0, inputTokens: 0, outputTokens: 0 };
  for await (const event of stream) {
    if (Number.isNaN(firstTokenMs) && /^(event_start|event_delta|agent\.)/.test(event.type)) {
      firstTokenMs = performance.now() - sent;
    }
    printer.print(event);
    const victim = await killer.see(event.type);
    if (victim !== undefined) printer.note(`SIGKILL to the ${victim}`);
    if (event.type === "agent.tool_use") sum.toolCalls += 1;
    if (event.type === "span.model_request_end") {
      sum.inputTokens += event.model_usage.input_tokens + event.model_usage.cache_read_input_tokens;
      sum.outputTokens += event.model_usage.output_tokens;
    }
    if (event.type === "session.status_idle") {
      return { stopReason: event.stop_reason.type, firstTokenMs, seconds: (performance.now() - sent) / 1000, ...sum };
    }
  }
  throw new SetupError(late.aborted ? "the job did not end in time" : "the event stream ended before the job did", {
    advice: "Look at the logs of the services in .manyhands/logs.",
  });
}
