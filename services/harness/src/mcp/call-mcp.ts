/**
 * One call of an MCP server's tool, from its intent to its result. vault-proxy's receipt makes it happen at most once, so
 * asking again under the same operation id is how it is followed: by this brain after a lost answer, or by the next one.
 */
import {
  boundText,
  type Call,
  type ContentBlock,
  type EventDraft,
  interruptedWhileRunning,
  longResultNote,
  notStarted,
  type OperationOutcome,
  plainText,
  resultDraft,
  shownTextBytes,
  text,
  unknownOutcome,
} from "@manyhands/core";
import { type AppError, backoffMs, type Clock, type RpcClient, toAppError } from "@manyhands/kit";
import type { CallToolResponse, McpFailure, VaultService } from "@manyhands/protocol";
import type { SessionTokens } from "../model/session-tokens.ts";

/** What MCP is reached by. */
export interface McpPorts {
  readonly vaults: Pick<RpcClient<typeof VaultService>, "listTools" | "callTool" | "cancelTool">;
  /** Tokens with audience MCP. */
  readonly tokens: SessionTokens;
  readonly clock: Clock;
}

/** A call to make or to follow. */
export interface McpCall {
  readonly sessionId: string;
  readonly call: Call;
  readonly timeoutMs: number;
  readonly outputBytes: number;
  /** Lets go of it: it runs on, somebody else will follow. */
  readonly detach: AbortSignal;
  /** The user interrupted: stop it, and come to an end soon. */
  readonly cancel: AbortSignal;
}

const graceMs = 30_000;
const silentMs = 60_000;
const cancelMs = 800;

/** Runs it to its end. Rejects only when detached. */
export async function callMcp(ports: McpPorts, mcp: McpCall): Promise<EventDraft[]> {
  const limit = new AbortController();
  const stop = () => {
    void cancelCall(ports, mcp);
    ports.clock.sleep(cancelMs, mcp.detach).then(
      () => limit.abort(),
      () => undefined,
    );
  };
  if (mcp.cancel.aborted) stop();
  else mcp.cancel.addEventListener("abort", stop, { once: true });
  try {
    return await follow(ports, mcp, AbortSignal.any([mcp.detach, limit.signal]));
  } catch (error) {
    mcp.detach.throwIfAborted();
    if (!limit.signal.aborted) throw error;
    return [resultDraft(mcp.call, "UNKNOWN", unknownOutcome(mcp.call, false, interruptedWhileRunning), true)];
  } finally {
    mcp.cancel.removeEventListener("abort", stop);
  }
}

async function follow(ports: McpPorts, mcp: McpCall, signal: AbortSignal): Promise<EventDraft[]> {
  const { clock } = ports;
  const { call } = mcp;
  const untilMs = clock.nowMs() + mcp.timeoutMs + silentMs;
  let mayBeSent = false;
  for (let attempt = 1; clock.nowMs() < untilMs; attempt += 1) {
    try {
      return answered(mcp, await ask(ports, mcp, signal));
    } catch (thrown) {
      signal.throwIfAborted();
      const error = toAppError(thrown);
      if (error.kind === "unauthenticated") ports.tokens.forget(mcp.sessionId);
      else if (isFinal(error)) {
        const words = mayBeSent ? unknownOutcome(call, false, error.message) : notStarted(call, error.message);
        return [resultDraft(call, mayBeSent ? "UNKNOWN" : "NOT_STARTED", words, true)];
      } else mayBeSent = true;
      await clock.sleep(backoffMs(attempt, { initialMs: 50, maxMs: 2_000 }), signal);
    }
  }
  const words = unknownOutcome(call, false, "The service that calls MCP servers did not answer.");
  return [resultDraft(call, "UNKNOWN", words, true)];
}

async function ask(ports: McpPorts, { sessionId, call, timeoutMs }: McpCall, signal: AbortSignal) {
  const request = {
    token: await ports.tokens.get(sessionId),
    operationId: call.id,
    mcpServerName: call.server ?? "",
    name: call.name,
    inputJson: new TextEncoder().encode(JSON.stringify(call.input)),
    timeout: { seconds: BigInt(Math.floor(timeoutMs / 1_000)), nanos: (timeoutMs % 1_000) * 1_000_000 },
  };
  return ports.vaults.callTool(request, { signal, deadlineMs: timeoutMs + graceMs });
}

/** Refused for good: asking again changes nothing. */
function isFinal({ kind }: AppError): boolean {
  return (
    kind === "invalid" || kind === "denied" || kind === "notFound" || kind === "unimplemented" || kind === "conflict"
  );
}

function answered({ call, outputBytes, cancel }: McpCall, response: CallToolResponse): EventDraft[] {
  const outcome = outcomeOf(response.outcome);
  const isError = response.isError || outcome !== "COMPLETED";
  const blocks = blocksOf(response.contentJson);
  const said = boundText(plainText(blocks), outputBytes);
  const failed = response.failure === undefined ? [] : [mcpError(response.failure)];
  switch (outcome) {
    case "UNKNOWN":
      return [...failed, resultDraft(call, outcome, unknownOutcome(call, false, said), true)];
    case "NOT_STARTED":
      return [...failed, resultDraft(call, outcome, notStarted(call, said), true)];
    case "KILLED":
      return [resultDraft(call, outcome, cancel.aborted ? `${interruptedWhileRunning}\n${said}` : said, true)];
    case "COMPLETED":
      return [resultDraft(call, outcome, keptBlocks(call, blocks, outputBytes), isError)];
    default: {
      const never: never = outcome;
      return never;
    }
  }
}

/** What the session's user is told of a server; the turn goes on. */
export function mcpError({
  mcpServerName,
  kind,
  message,
}: Pick<McpFailure, "mcpServerName" | "kind" | "message">): EventDraft {
  const types: Record<string, string> = {
    connection: "mcp_connection_failed_error",
    authentication: "mcp_authentication_failed_error",
  };
  const type = types[kind] ?? "unknown_error";
  const error = {
    type,
    message: `MCP server ${mcpServerName}: ${message}`,
    retry_status: { type: "retrying" as const },
  };
  return {
    type: "session.error",
    error: type === "unknown_error" ? error : { ...error, mcp_server_name: mcpServerName },
  };
}

function outcomeOf(text: string): OperationOutcome {
  return text === "COMPLETED" || text === "NOT_STARTED" || text === "KILLED" ? text : "UNKNOWN";
}

/** The blocks as vault-proxy made them: always of the public shape. */
function blocksOf(json: Uint8Array): ContentBlock[] {
  return JSON.parse(new TextDecoder().decode(json) || "[]") as ContentBlock[];
}

/**
 * What the log is given: texts whole, since it shows the model their ends and keeps the rest beside the event. Where less
 * is to be shown than it shows, their ends alone.
 */
function keptBlocks(call: Call, blocks: ContentBlock[], outputBytes: number): ContentBlock[] {
  if (outputBytes < shownTextBytes) {
    return blocks.map((block) => (block.type === "text" ? text(boundText(block.text, outputBytes)) : block));
  }
  const isLong = blocks.some((block) => block.type === "text" && Buffer.byteLength(block.text) > shownTextBytes);
  return isLong ? [...blocks, longResultNote(call.id, Buffer.byteLength(plainText(blocks)))] : blocks;
}

async function cancelCall({ vaults, tokens }: McpPorts, { sessionId, call }: McpCall): Promise<void> {
  try {
    await vaults.cancelTool({ token: await tokens.get(sessionId), operationId: call.id }, { deadlineMs: cancelMs });
  } catch {
    // the call itself tells how it ended, or its limit does
  }
}
