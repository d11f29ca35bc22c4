/** ListTools, CallTool and CancelTool. They share who may call them. */
import { durationMs } from "@bufbuild/protobuf/wkt";
import { AppError, type ServiceImpl } from "@manyhands/kit";
import type { VaultService } from "@manyhands/protocol";
import { asObject, type JsonObject } from "../mcp/json-rpc.ts";
import { CHANGED, listSessionTools } from "../mcp/list-tools.ts";
import type { SessionMcp } from "../mcp/session-mcp.ts";
import { checkId, fieldChecks } from "../policy/fields.ts";
import { type Binding, type BindingStore, revoked } from "../store/binding-store.ts";
import { encodeJson } from "../store/json.ts";
import type { ReceiptEnd } from "../store/receipt-store.ts";
import type { SessionGuard } from "../tokens/session-guard.ts";

type Deps = {
  readonly mcp: SessionMcp;
  readonly guard: Pick<SessionGuard, "admit" | "onRevoked">;
  readonly bindings: Pick<BindingStore, "standing">;
};
type Impl = ServiceImpl<typeof VaultService>;

const MAX_INPUT = 1024 * 1024;
const TIMEOUT_MS = { min: 1000, max: 3_600_000, default: 600_000 } as const;

/** Handlers of the three. */
export function mcpToolRoutes({ mcp, guard, bindings }: Deps) {
  const listTools: Impl["listTools"] = async ({ token }, context) => {
    const { session, binding } = await admit(guard, bindings, token);
    const stop = guard.onRevoked(session, () => void mcp.servers.end(session));
    try {
      const { tools, failures } = await listSessionTools(mcp, session, binding, context.signal);
      return {
        tools: tools.map(({ server, name, description, inputSchema }) => {
          return { mcpServerName: server, name, description, inputSchemaJson: encodeJson(inputSchema) };
        }),
        failures: failures.map(({ server, kind, message }) => ({ mcpServerName: server, kind, message })),
      };
    } finally {
      stop();
    }
  };
  const callTool: Impl["callTool"] = async (request, context) => {
    const { operationId, mcpServerName, name } = request;
    const checks = fieldChecks();
    checkId(checks, "operation_id", operationId, "sevt");
    checks.rule("name", name.length >= 1 && name.length <= 128, "must be 1 to 128 characters");
    const input = parseInput(request.inputJson);
    checks.rule("input_json", input !== undefined, `must be a JSON object of at most ${MAX_INPUT} bytes`);
    const timeoutMs = request.timeout === undefined ? TIMEOUT_MS.default : durationMs(request.timeout);
    checks.rule("timeout", timeoutMs >= TIMEOUT_MS.min && timeoutMs <= TIMEOUT_MS.max, "must be 1 second to 1 hour");
    checks.done();
    const { session, binding } = await admit(guard, bindings, request.token);
    const server = binding.mcpServers.find((one) => one.name === mcpServerName);
    if (!server || !input) {
      throw AppError.denied("MCP_SERVER_NOT_BOUND", `the session has no MCP server ${mcpServerName.slice(0, 255)}`);
    }
    if (await mcp.pins.isWithheld(session, mcpServerName, name)) {
      throw AppError.denied("MCP_TOOL_CHANGED", `the tool ${name} of ${mcpServerName} ${CHANGED}`);
    }
    const call = { session, binding, operation: operationId, server, name, input, timeoutMs };
    const stop = guard.onRevoked(session, () => void mcp.calls.end(session));
    try {
      return wireEnd(mcpServerName, await mcp.calls.call(call, context.signal));
    } finally {
      stop();
    }
  };
  const cancelTool: Impl["cancelTool"] = async ({ token, operationId }) => {
    const checks = fieldChecks();
    checkId(checks, "operation_id", operationId, "sevt");
    checks.done();
    const { session } = await admit(guard, bindings, token);
    await mcp.calls.cancel({ session, operation: operationId });
    return {};
  };
  return { listTools, callTool, cancelTool };
}

async function admit(
  guard: Deps["guard"],
  bindings: Deps["bindings"],
  token: string,
): Promise<{ readonly session: string; readonly binding: Binding }> {
  const { session, workspace } = await guard.admit(token, "mcp");
  const standing = await bindings.standing(session);
  if (standing.state !== "bound" || standing.binding.workspace !== workspace) throw revoked(session);
  return { session, binding: standing.binding };
}

function parseInput(bytes: Uint8Array): JsonObject | undefined {
  if (bytes.byteLength > MAX_INPUT) return undefined;
  try {
    return asObject(JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)));
  } catch {
    return undefined;
  }
}

function wireEnd(mcpServerName: string, { outcome, content, isError, failure }: ReceiptEnd) {
  return {
    contentJson: encodeJson(content),
    isError,
    outcome,
    ...(failure ? { failure: { mcpServerName, ...failure } } : {}),
  };
}
