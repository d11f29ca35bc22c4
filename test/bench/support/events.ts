/** Events and contexts of the log's benches. */
import { create } from "@bufbuild/protobuf";
import { newId, type RpcContext, silentLogger } from "@manyhands/kit";
import { type Event, EventSchema, SessionCreatedSchema } from "@manyhands/protocol";

const workspaceId = "wrkspc_bench";
const bytes = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
const agentJson = bytes({ id: "agent_bench", version: 1, model: { id: "none" } });
const environmentJson = bytes({ id: "env_bench" });

/** An event of the platform that changes no status, with a text of this many bytes. */
export function agentMessage(textBytes: number, id = ""): Event {
  const text = "a".repeat(textBytes);
  return create(EventSchema, {
    id,
    type: "agent.message",
    payload: { case: "agentMessage", value: { content: [{ kind: { case: "text", value: { text } } }] } },
  });
}

/** The first event of a session whose log is written without the service. */
export function sessionCreated(id: string): Event {
  const json = { agentJson, environmentJson, resourcesJson: bytes([]), budgetJson: bytes(null) };
  const value = create(SessionCreatedSchema, { workspaceId, harnessKind: "default", ...json });
  return create(EventSchema, { id, type: "session.created", payload: { case: "sessionCreated", value } });
}

/** Asks the service for a session. */
export function newSessionRequest() {
  return { workspaceId, agentJson, environmentJson };
}

const logger = silentLogger();

/** What a handler is called with when no gRPC is in between. */
export function callContext(signal: AbortSignal = new AbortController().signal): RpcContext {
  return { signal, metadata: {}, requestId: newId("req"), logger };
}
