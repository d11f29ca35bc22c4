/** One tool call in a held hand: admitted, started or found, followed, and put into words. */
import { AppError, systemClock, toAppError } from "@manyhands/kit";
import type { Hand, OperationPart, OperationState } from "../drivers/driver.ts";
import { wasNeverSent } from "../drivers/hand-lost.ts";
import { keepMemories, refreshMemories } from "../mounts/sync-memories.ts";
import { boundedText } from "../tools/bounded-text.ts";
import { inputHash } from "../tools/input-hash.ts";
import { type CollectedOutput, createOutputCollector } from "../tools/output-collector.ts";
import type { ToolCall } from "../tools/tool.ts";
import { checkCall } from "../tools/toolset.ts";
import type { HeldHand } from "./held-hands.ts";
import type { Manager } from "./manager.ts";
import { lostResult, type Result, unknownResult } from "./results.ts";
import { beginUse, endUse } from "./use.ts";

/** How long the reason of a loss is waited for. */
const EXPLAIN_MS = 2000;

/** What following an operation yields. */
export type Item =
  | { readonly type: "started"; readonly attached: boolean }
  | { readonly type: "output"; readonly offset: number; readonly data: Uint8Array }
  | { readonly type: "result"; readonly result: Result };

/** An execute call. */
export type Call = {
  readonly operationId: string;
  readonly name: string;
  readonly input: unknown;
  readonly timeoutMs: number | undefined;
  /** It is killed after this in any case: the right to run it ends then. */
  readonly capMs?: number;
  /** Ends the following, not the operation. */
  readonly signal?: AbortSignal;
};

/** Runs a call, or attaches to it when its id is known. Ends with exactly one result. */
export async function* runCall(manager: Manager, held: HeldHand, call: Call): AsyncGenerator<Item> {
  const checked = held.driver.takesTools ? { call: asItCame(call) } : checkCall(call.name, call.input);
  if ("refusal" in checked) {
    yield { type: "result", result: answered(checked.refusal.content, checked.refusal.isError) };
    return;
  }
  await beginUse(manager, held);
  try {
    await manager.snapshots?.settled(held.hand.handId);
    await refreshMemories(manager, held);
    yield* start(manager, held, call, checked.call);
  } finally {
    endUse(manager, held);
  }
}

async function* start(manager: Manager, held: HeldHand, call: Call, tool: ToolCall): AsyncGenerator<Item> {
  const { hand } = held;
  const { defaultTimeoutMs, maxTimeoutMs } = manager.limits;
  const asked = Math.min(tool.timeoutMs ?? maxTimeoutMs, call.timeoutMs ?? maxTimeoutMs);
  const wanted =
    tool.timeoutMs === undefined && call.timeoutMs === undefined ? defaultTimeoutMs : Math.min(asked, maxTimeoutMs);
  const timeoutMs = Math.min(wanted, call.capMs ?? wanted);
  const hash = inputHash(call.name, call.input);
  const known = held.calls.has(call.operationId);
  try {
    const prepared = await prepare(hand, call.operationId, tool);
    if (!("kind" in prepared)) {
      yield { type: "result", result: answered(prepared.content, prepared.isError) };
      return;
    }
    // Remembered before it is sent: what is not in here was certainly never started by us.
    manager.held.remember(held, call.operationId, tool);
    const started = await hand.start(
      { id: call.operationId, inputHash: hash, timeoutMs, action: prepared },
      call.signal,
    );
    yield { type: "started", attached: started.existing };
    const changes = prepared.kind === "shell" || prepared.kind === "exec" || prepared.kind === "write";
    const after = () => manager.snapshots?.after(held.hand.handId, call.operationId, changes);
    const parts = follow(started.parts, tool, 0, isStreamed(prepared.kind), started.existing ? undefined : after);
    yield* withMemories(manager, held, parts, changes);
  } catch (error) {
    yield { type: "result", result: await endOf(held, call.operationId, error, known) };
  }
}

/** For hands that find their own words for any tool. */
function asItCame({ name, input }: Call): ToolCall {
  return {
    action: { kind: "tool", name, input },
    answer: ({ exitCode, output }) => ({ content: boundedText(output).text, isError: exitCode !== 0 }),
  };
}

/** A recorded operation is found by its id alone; the action then only stands for "the same call again". */
async function prepare(hand: Hand, operationId: string, tool: ToolCall) {
  if (tool.action) return tool.action;
  if (!tool.prepare) throw AppError.internal(new Error("a tool call without an operation"));
  if (await hand.state(operationId)) return { kind: "read", path: "/", maxBytes: 0 } as const;
  return tool.prepare(hand);
}

/** What is followed, and from where. */
export type Follow = {
  readonly operationId: string;
  readonly fromOffset: number;
  /** The call as it was made, where the asker says: its tool finds the words for the end. */
  readonly name: string;
  readonly input: unknown;
  readonly signal: AbortSignal;
};

/**
 * Follows a known operation. Its end is put into the words of its tool, which is known where the call was made, or from
 * the asker; else it is the plain output.
 */
export async function* followOperation(manager: Manager, held: HeldHand, asked: Follow): AsyncGenerator<Item> {
  const { operationId, fromOffset, signal } = asked;
  await beginUse(manager, held);
  try {
    const parts = await held.hand.attach(operationId, signal);
    if (!parts) {
      yield { type: "result", result: notStarted() };
      return;
    }
    yield { type: "started", attached: true };
    const tool = held.calls.get(operationId) ?? toolOf(asked) ?? PLAIN;
    const after = () => manager.snapshots?.after(held.hand.handId, operationId, true);
    const items = follow(parts, tool, fromOffset, isStreamed(tool.action?.kind ?? "shell"), after);
    yield* withMemories(manager, held, items, true);
  } catch (error) {
    yield { type: "result", result: await endOf(held, operationId, error, held.calls.has(operationId)) };
  } finally {
    endUse(manager, held);
  }
}

function toolOf({ name, input }: Follow): ToolCall | undefined {
  if (name === "") return undefined;
  const checked = checkCall(name, input);
  return "call" in checked ? checked.call : undefined;
}

/** For an operation whose call is not known here: its output as it is. Execute again to get the tool's words. */
const PLAIN: ToolCall = {
  answer: ({ exitCode, output }) => ({ content: boundedText(output).text, isError: exitCode !== 0 }),
};

async function* follow(
  parts: AsyncIterable<OperationPart>,
  tool: ToolCall,
  fromOffset: number,
  streamed: boolean,
  atEnd?: () => void,
): AsyncGenerator<Item> {
  const collector = createOutputCollector();
  for await (const part of parts) {
    if (part.type === "exit") {
      atEnd?.();
      yield { type: "result", result: ended(part.state, collector.end(part.state.outputBytes), tool) };
      return;
    }
    collector.add(part);
    const known = Math.max(0, fromOffset - part.offset);
    if (streamed && known < part.bytes.length)
      yield { type: "output", offset: part.offset + known, data: part.bytes.subarray(known) };
  }
  throw AppError.internal(new Error("an operation's parts ended without an exit"));
}

/** The result waits until what the operation left in memory folders is in their stores, and says what is not. */
async function* withMemories(
  manager: Manager,
  held: HeldHand,
  items: AsyncIterable<Item>,
  mayChange: boolean,
): AsyncGenerator<Item> {
  for await (const item of items) {
    const notes = item.type === "result" ? await keepMemories(manager, held, mayChange) : [];
    yield item.type === "result" && notes.length > 0 ? { ...item, result: withNotes(item.result, notes) } : item;
  }
}

function withNotes(result: Result, notes: readonly string[]): Result {
  const { content } = result;
  const words = notes.map((note) => `[memory: ${note}]`).join("\n");
  return { ...result, content: content === "" || content.endsWith("\n") ? content + words : `${content}\n${words}` };
}

/** Files and listings are raw material for an answer; only what a command prints is worth watching. */
function isStreamed(kind: string): boolean {
  return kind === "shell" || kind === "exec";
}

function ended(state: OperationState, output: CollectedOutput, tool: ToolCall): Result {
  const facts = { outputBytes: state.outputBytes, outputSha256: output.sha256 ?? "" };
  if (state.phase === "unknown")
    return { ...unknownResult("the sandbox's agent was restarted while it ran"), ...facts };
  if (state.killedBy) {
    const { text, truncated } = boundedText(output.head, output.tail, output.missing);
    const content = `${text}${text && !text.endsWith("\n") ? "\n" : ""}[${KILLED_WORDS[state.killedBy]}${state.shellLost ? "; the shell was restarted" : ""}]`;
    return { outcome: "killed", content, isError: true, killedBy: state.killedBy, truncated, ...facts };
  }
  const exitCode = state.exitCode ?? 128 + (state.signal ?? 0);
  if (output.missing > 0 || output.tail.length > 0) {
    const { text } = boundedText(output.head, output.tail, output.missing);
    const note = exitCode === 0 ? "" : `\n[exit code ${exitCode}]`;
    return { outcome: "completed", content: text + note, isError: exitCode !== 0, exitCode, truncated: true, ...facts };
  }
  const { content, isError, image } = tool.answer({ state, exitCode, output: output.head });
  const truncated = content.includes(" bytes left out …]");
  const shown = image === undefined ? {} : { image };
  return { outcome: "completed", content, isError, exitCode, truncated, ...shown, ...facts };
}

const KILLED_WORDS = {
  timeout: "killed: it ran longer than its timeout",
  cancel: "killed: it was canceled",
  out_of_memory: "killed: the sandbox ran out of memory",
} as const;

function answered(content: string, isError: boolean): Result {
  return { outcome: "completed", content, isError, truncated: false, outputBytes: 0, outputSha256: "" };
}

function notStarted(): Result {
  return { ...answered("This operation was never started in this sandbox.", true), outcome: "not_started" };
}

/** A loss of the hand is an outcome; everything else stays an error of the call. */
async function endOf(held: HeldHand, operationId: string, error: unknown, knownBefore: boolean): Promise<Result> {
  const failure = toAppError(error);
  if (failure.reason !== "HAND_LOST") throw failure;
  // Told only once this manager knows itself: who asks for a hand next gets a new one, not this.
  const { lost } = held.hand;
  await systemClock.sleep(EXPLAIN_MS, lost).catch(() => undefined);
  const mayHaveRun = knownBefore || !held.knowsAll || !wasNeverSent(failure);
  if (!mayHaveRun) held.calls.delete(operationId);
  return lostResult(toAppError(lost.aborted ? lost.reason : failure).message, mayHaveRun);
}
