/** Asks which tools the session's MCP servers offer now, and says what of it the log does not have yet. */
import {
  type AgentConfig,
  type EventDraft,
  type Json,
  listedMcpTools,
  type SessionEvent,
  type UnknownEvent,
} from "@manyhands/core";
import { retry, toAppError } from "@manyhands/kit";
import type { McpTool } from "@manyhands/protocol";
import { type McpPorts, mcpError } from "./call-mcp.ts";

const deadlineMs = 25_000;

/** The events to append before the next model request; never rejects unless detached. */
export async function listMcp(
  ports: McpPorts,
  sessionId: string,
  agent: AgentConfig,
  log: readonly (SessionEvent | UnknownEvent)[],
  signal: AbortSignal,
): Promise<EventDraft[]> {
  try {
    const { tools, failures } = await retry(async () => list(ports, sessionId, signal), {
      attempts: 3,
      signal,
      clock: ports.clock,
      when: (error) => error.kind === "unavailable" || error.kind === "unauthenticated",
    });
    const failed = new Set(failures.filter(({ kind }) => kind !== "tools").map((failure) => failure.mcpServerName));
    const servers = [...agent.mcp.keys()].filter((server) => !failed.has(server));
    const changed = changes(servers, tools, listedMcpTools(log, Number.POSITIVE_INFINITY));
    const isNews = (server: string) => failed.has(server) || changed.some((event) => event.mcp_server_name === server);
    return [...changed, ...failures.filter((failure) => isNews(failure.mcpServerName)).map(mcpError)];
  } catch (thrown) {
    signal.throwIfAborted();
    const message = `its tools could not be listed: ${toAppError(thrown).message}`;
    return [...agent.mcp.keys()].map((mcpServerName) => mcpError({ mcpServerName, kind: "connection", message }));
  }
}

async function list({ vaults, tokens }: McpPorts, sessionId: string, signal: AbortSignal) {
  try {
    return await vaults.listTools({ token: await tokens.get(sessionId) }, { signal, deadlineMs });
  } catch (error) {
    if (toAppError(error).kind === "unauthenticated") tokens.forget(sessionId);
    throw error;
  }
}

function changes(
  servers: readonly string[],
  tools: readonly McpTool[],
  known: ReadonlyMap<string, Json>,
): EventDraft<"session.mcp_tools_listed">[] {
  return servers.flatMap((server) => {
    const listed: Json = tools.filter((tool) => tool.mcpServerName === server).map(plainTool);
    if (JSON.stringify(listed) === JSON.stringify(known.get(server) ?? [])) return [];
    return [{ type: "session.mcp_tools_listed", mcp_server_name: server, tools: listed }];
  });
}

function plainTool({ name, description, inputSchemaJson }: McpTool): Json {
  return { name, description, input_schema: JSON.parse(new TextDecoder().decode(inputSchemaJson)) as Json };
}
