import { ApiError } from "./api-error.ts";
import { type Choice, chooseStep } from "./choose-step.ts";
import { checkConversation } from "./conversation-rules.ts";
import type { FaultCounter } from "./fault-counter.ts";
import type { JournalEntry } from "./journal.ts";
import { type Pace, paceOf, pause, tokensMs } from "./pace.ts";
import { type OutputMessage, renderMessage } from "./render.ts";
import { type CreateRequest, parseCountRequest, parseCreateRequest } from "./request-schema.ts";
import { defaultMessage, type ResponseWriter } from "./response-writer.ts";
import type { Fault, Scenario } from "./scenario-schema.ts";
import { streamEvents } from "./sse.ts";
import { estimateInputTokens, type PromptCache } from "./usage.ts";

/** What the messages routes work with. */
export type Model = {
  readonly scenarios: readonly Scenario[];
  readonly extraToolNames: ReadonlySet<string>;
  readonly cache: PromptCache;
  readonly faults: FaultCounter;
  /** Speed of scenarios that name none, in estimated tokens per second; undefined is unlimited. */
  readonly tokensPerSecond: number | undefined;
};

/** An accepted request with everything needed to answer it. */
export type Plan = {
  readonly message: OutputMessage;
  readonly pace: Pace;
  readonly stream: boolean;
  readonly fault: StreamFault | undefined;
};

type StreamFault = Exclude<Fault, { kind: "status" }>;

/** Answers `count_tokens`: the same checks as a real request, then the estimate. */
export function countTokens(model: Model, body: unknown): { input_tokens: number } {
  const request = parseCountRequest(body);
  checkConversation(request, model);
  return { input_tokens: estimateInputTokens(request) };
}

/**
 * Decides the whole answer before a byte of it is sent. Throws an {@link ApiError} for a bad request and for a status
 * fault; `forced` is a fault from the caller of the server, which wins over the scenario's.
 */
export function planMessage(
  model: Model,
  body: unknown,
  text: string,
  entry: JournalEntry,
  forced: Fault | undefined,
): Plan {
  const request = parseCreateRequest(body);
  checkConversation(request, model);
  checkThinkingBudget(request);
  const choice = chooseStep(model.scenarios, request);
  if (choice === undefined)
    throw new ApiError("not_found_error", "no scenario matches this request, and none is the default");
  entry.answer.scenario = choice.scenario.name;
  entry.answer.step = choice.step?.label ?? String(choice.stepIndex);
  const fault = forced ?? scenarioFault(model, choice, text, entry);
  if (fault?.kind === "status") throw statusError(fault);
  if (fault?.kind === "stream_error" && request.stream !== true) {
    throw new ApiError(fault.type, fault.message ?? defaultMessage(fault.type));
  }
  return {
    message: renderMessage(choice, request, model.cache.use(request)),
    pace: paceOf(choice.scenario, choice.step, model.tokensPerSecond),
    stream: request.stream === true,
    fault,
  };
}

/** Sends a planned answer at its pace, as server-sent events or as one JSON body. */
export async function sendMessage(
  plan: Plan,
  writer: ResponseWriter,
  requestId: string,
  signal: AbortSignal,
): Promise<void> {
  const { message, pace } = plan;
  await pause(pace.delayMs, signal);
  if (!plan.stream) {
    await pause(pace.firstTokenMs + tokensMs(pace, message.usage.output_tokens), signal);
    await writer.head(200, { "content-type": "application/json", "request-id": requestId });
    await writer.write(JSON.stringify(message));
    writer.end();
    return;
  }
  const headers = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "request-id": requestId,
  };
  await writer.head(200, headers);
  let isFirstBlock = true;
  let owedMs = 0;
  for (const next of streamEvents(message, pace.chunkChars)) {
    if (isFirstBlock && next.text.startsWith("event: content_block_start")) {
      isFirstBlock = false;
      owedMs += pace.firstTokenMs;
    }
    owedMs += tokensMs(pace, next.tokens);
    if (owedMs >= 1) {
      await pause(owedMs, signal);
      owedMs = 0;
    }
    await writer.write(next.text);
  }
  writer.end();
}

function scenarioFault(model: Model, { step }: Choice, text: string, entry: JournalEntry): Fault | undefined {
  const fault = step?.error;
  return fault !== undefined && model.faults.strikes(fault, text, entry.headers) ? fault : undefined;
}

function statusError(fault: Extract<Fault, { kind: "status" }>): ApiError {
  const headers: Record<string, string> =
    fault.retry_after_s === undefined ? {} : { "retry-after": String(fault.retry_after_s) };
  return new ApiError(fault.type, fault.message ?? defaultMessage(fault.type), { status: fault.status, headers });
}

function checkThinkingBudget(request: CreateRequest): void {
  const { thinking } = request;
  if (thinking?.type === "enabled" && thinking.budget_tokens >= request.max_tokens) {
    throw ApiError.invalid("`max_tokens` must be greater than `thinking.budget_tokens`.");
  }
}
