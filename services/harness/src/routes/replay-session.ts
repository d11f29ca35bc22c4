import { create } from "@bufbuild/protobuf";
import type { ModelRequest, ModelResponse } from "@manyhands/core";
import { AppError, type MethodHandler } from "@manyhands/kit";
import { decodeEvent, GetEventsRequestSchema, type HarnessService, ReplayMode } from "@manyhands/protocol";
import type { Deps } from "../deps.ts";
import type { Model } from "../model/model.ts";
import type { Measured } from "../replay/measure-request.ts";
import { inWords, replayLog } from "../replay/replay-log.ts";

const pageSize = 1000;
const maxPages = 1000;
const silent = { started: () => undefined, text: () => undefined, toolUse: () => undefined };

/** ReplaySession: recorded feeds the log's answers, shadow asks the model anew; neither writes or runs anything. */
export function replaySession(
  deps: Pick<Deps, "sessions" | "kinds" | "model" | "limits">,
): MethodHandler<typeof HarnessService.method.replaySession> {
  return async function* (request, { signal }) {
    const { workspaceId, sessionId, kind, version, mode, settings } = request;
    if (sessionId === "") throw AppError.invalid([{ field: "session_id", description: "is required" }]);
    const harness = deps.kinds.find(kind === "" ? "default" : kind, version);
    if (harness === undefined) {
      const known = deps.kinds.all.map((one) => `${one.kind}@${one.version}`).join(", ");
      throw AppError.invalid([{ field: "kind", description: `must be one of the registered harnesses: ${known}` }]);
    }
    const events = await readLog(deps.sessions, workspaceId, sessionId, signal);
    const isShadow = mode === ReplayMode.SHADOW;
    const ask = (body: ModelRequest) => askModel(deps.model, sessionId, body, signal);
    const replay = { events, harness, limits: deps.limits, settings, ...(isShadow ? { ask } : {}) };
    let hasDiverged = false;
    for await (const step of replayLog(replay)) {
      const diverged: boolean = step.difference !== "" && !hasDiverged;
      hasDiverged ||= diverged;
      const { recordedRequest, triedRequest } = step;
      yield {
        position: BigInt(step.position),
        diverged,
        difference: step.difference,
        recorded: inWords(step.recorded),
        tried: inWords(step.tried),
        ...(recordedRequest === undefined ? {} : { recordedRequest: wire(recordedRequest) }),
        ...(triedRequest === undefined ? {} : { triedRequest: wire(triedRequest) }),
      };
    }
  };
}

function wire({ inputTokens, cachedTokens, ...rest }: Measured) {
  return { ...rest, inputTokens: BigInt(inputTokens), cachedTokens: BigInt(cachedTokens) };
}

async function askModel(
  model: Model,
  sessionId: string,
  body: ModelRequest,
  signal: AbortSignal,
): Promise<ModelResponse | string> {
  const end = await model.ask(sessionId, body, silent, signal);
  return end.type === "response" ? end.response : end.failure.message;
}

async function readLog(sessions: Deps["sessions"], workspaceId: string, sessionId: string, signal: AbortSignal) {
  const events: ReturnType<typeof decodeEvent>[] = [];
  const request = create(GetEventsRequestSchema, { workspaceId, sessionId, includePlatform: true, pageSize });
  for (let page = 0; page < maxPages; page += 1) {
    const answer = await sessions.getEvents(request, { signal });
    for (const event of answer.events) events.push(decodeEvent(event));
    if (answer.nextPageToken === "") return events;
    request.pageToken = answer.nextPageToken;
  }
  throw AppError.exhausted("SESSION_TOO_LONG", `the session has more than ${maxPages * pageSize} events`);
}
