/** Tools of all MCP servers of a session. A server that cannot be used is told of, and keeps nobody from the others. */
import type { Binding, BoundMcpServer } from "../store/binding-store.ts";
import { McpError } from "./mcp-error.ts";
import type { SessionServers } from "./session-servers.ts";
import type { PinnedTool, ToolPins } from "./tool-pins.ts";
import { judgeTools, TOOL_LIMITS, tellLeftOut } from "./tool-rules.ts";
import { MCP_LIMITS } from "./transport.ts";

/** Why a server, or a part of it, cannot be used. */
export type ServerFailure = {
  readonly server: string;
  readonly kind: "connection" | "authentication" | "tools";
  readonly message: string;
};

/** What was found. */
export type FoundTools = {
  readonly tools: readonly PinnedTool[];
  readonly failures: readonly ServerFailure[];
};

/** What is said of a tool that is withheld; it is never shown in the server's new words. */
export const CHANGED = "is not what it was when this session first saw it, so it is withheld";

/** Asks all servers of a session at once. */
export async function listSessionTools(
  { servers, pins }: { readonly servers: SessionServers; readonly pins: ToolPins },
  session: string,
  binding: Binding,
  signal: AbortSignal,
): Promise<FoundTools> {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(MCP_LIMITS.requestMs)]);
  const answers = await Promise.all(
    binding.mcpServers.map((server) => listOne(servers, session, binding, server, limit)),
  );
  const tools: PinnedTool[] = [];
  const leftOut = new Map<string, readonly string[]>();
  const failures: ServerFailure[] = [];
  let room: number = TOOL_LIMITS.allBytes;
  for (const [index, { name }] of binding.mcpServers.entries()) {
    const answer = answers[index] ?? [];
    if (answer instanceof McpError) {
      failures.push({ server: name, kind: kindOf(answer), message: answer.message });
      continue;
    }
    const judged = judgeTools(answer, room);
    room -= judged.bytes;
    tools.push(...judged.tools.map((tool) => ({ ...tool, server: name })));
    leftOut.set(name, judged.leftOut);
  }
  const checked = await pins.check(session, tools);
  for (const [server, reasons] of leftOut) {
    const changed = checked.changed.filter((tool) => tool.server === server);
    const all = [...changed.map(({ name }) => `${name} ${CHANGED}`), ...reasons];
    if (all.length > 0) failures.push({ server, kind: "tools", message: tellLeftOut(all) });
  }
  return { tools: [...checked.tools, ...checked.changed.map(standIn)], failures };
}

/** A conversation that used the tool before needs one of that name; this one says nothing of the server's. */
function standIn(tool: PinnedTool): PinnedTool {
  return {
    ...tool,
    description: `Not available: this tool ${CHANGED}. Do not call it.`,
    inputSchema: { type: "object" },
  };
}

async function listOne(
  servers: SessionServers,
  session: string,
  binding: Binding,
  server: BoundMcpServer,
  signal: AbortSignal,
): Promise<readonly unknown[] | McpError> {
  try {
    return await servers.use(session, binding, server, (client) => client.listTools(signal));
  } catch (error) {
    return error instanceof McpError
      ? error
      : new McpError("protocol", "the server refused to list its tools", { reached: true });
  }
}

/** The two kinds the session's user is told apart. */
export function kindOf(error: McpError): "connection" | "authentication" {
  return error.kind === "authentication" ? "authentication" : "connection";
}
