/**
 * `POST /x/rpc/{service}/{method}`: the calls a brain needs, as plain HTTP with JSON, for harnesses in languages without
 * gRPC. Body and answer are the protobuf messages in their JSON form; of a stream the answer is `{"messages": […]}`. Only
 * keys with `"harness": true` may use it, and only for sessions of their own workspace.
 */
import { type DescMethod, type DescService, fromJson, type JsonValue, toJson } from "@bufbuild/protobuf";
import { AppError } from "@manyhands/kit";
import { HarnessService, SandboxService, SessionService, VaultService } from "@manyhands/protocol";
import type { Deps } from "../deps.ts";
import type { Call } from "../http/call.ts";

/** What of each service a brain needs. */
const served: readonly (readonly [DescService, readonly string[]])[] = [
  [SessionService, ["getSession", "getEvents", "emitEvents"]],
  [SandboxService, ["provision", "execute", "attach", "cancelOperation"]],
  [VaultService, ["mintSessionToken"]],
  [HarnessService, ["wake", "switchHarness", "describeHarness"]],
];

const maxMessages = 10_000;

type BrainDeps = Pick<Deps, "sessions" | "sandboxes" | "vaults" | "harness">;

/** The handler. */
export const brainCall =
  (deps: BrainDeps) =>
  async (call: Call): Promise<object> => {
    if (!call.caller.isHarness) {
      throw AppError.denied("HARNESS_KEY_REQUIRED", 'the API key must have `"harness": true` in MH_API_KEYS_FILE');
    }
    const method = methodOf(call.param("service"), call.param("method"));
    const body = isObject(call.body) ? call.body : {};
    const request = readRequest(method, body);
    await checkWorkspace(deps, call, request);
    const client = clientOf(deps, method.parent);
    const invoke = client[method.localName];
    if (invoke === undefined) throw AppError.unimplemented(`${method.parent.typeName}/${method.name} is not served`);
    const write = (message: unknown) => toJson(method.output, message as never); // a message of that very type
    if (method.methodKind === "unary") return isObjectOr(write(await invoke(request, call.rpc)));
    const messages: JsonValue[] = [];
    for await (const message of invoke(request, call.rpc) as AsyncIterable<unknown>) {
      messages.push(write(message));
      if (messages.length >= maxMessages)
        throw AppError.exhausted("TOO_MANY_MESSAGES", "the stream has too many messages");
    }
    return { messages };
  };

function methodOf(service: string, name: string): DescMethod {
  for (const [desc, names] of served) {
    const method = desc.methods.find((one) => one.name === name && names.includes(one.localName));
    if (desc.name === service && method !== undefined) return method;
  }
  throw AppError.notFound("method", `${service}/${name}`);
}

/** The session named in the request, or that of the hand it names, must be the caller's. */
async function checkWorkspace(deps: BrainDeps, call: Call, request: unknown): Promise<void> {
  const { sessionId: named, handId } = isObject(request) ? request : {};
  let sessionId = typeof named === "string" ? named : "";
  if (sessionId === "" && typeof handId === "string") {
    sessionId = (await deps.sandboxes.getHand({ handId }, call.rpc)).hand?.sessionId ?? "";
  }
  if (sessionId === "" && call.param("service") !== "HarnessService") {
    throw AppError.invalid([{ field: "session_id", description: "is required" }]);
  }
  if (sessionId !== "") {
    await deps.sessions.getSession({ workspaceId: call.caller.workspaceId, sessionId }, call.rpc);
  }
}

type Invoke = (request: unknown, options: Call["rpc"]) => Promise<unknown> | AsyncIterable<unknown>;

function clientOf(deps: BrainDeps, service: DescService): Readonly<Record<string, Invoke | undefined>> {
  const byName: Readonly<Record<string, object>> = {
    SessionService: deps.sessions,
    SandboxService: deps.sandboxes,
    VaultService: deps.vaults,
    HarnessService: deps.harness,
  };
  // Clients are made of one function per method, named as in the description the method came from.
  return (byName[service.name] ?? {}) as Readonly<Record<string, Invoke | undefined>>;
}

function readRequest(method: DescMethod, body: Record<string, unknown>): unknown {
  try {
    return fromJson(method.input, body as JsonValue, { ignoreUnknownFields: false });
  } catch (error) {
    const description = error instanceof Error ? error.message : String(error);
    throw AppError.invalid([{ field: "body", description }]);
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isObjectOr(value: JsonValue): object {
  return isObject(value) ? value : { value };
}
