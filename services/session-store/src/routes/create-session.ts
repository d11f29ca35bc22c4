import { createHash } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { isId, isSafeToken } from "@manyhands/core";
import { type MethodHandler, newId } from "@manyhands/kit";
import {
  type CreateSessionRequest,
  type Event,
  EventSchema,
  SessionCreatedSchema,
  type SessionService,
} from "@manyhands/protocol";
import type { Deps } from "../deps.ts";
import { sessionToWire } from "../log/header-wire.ts";
import { checkEvents } from "../log/validate-events.ts";
import {
  appendContext,
  checkRequestId,
  checkTitleAndMetadata,
  checkWorkspace,
  isJsonObject,
  parseJson,
  rules,
} from "./request-rules.ts";

const maxInitialEvents = 50;

/**
 * Makes a session. With a `request_id` and no `session_id`, the id is a hash of workspace and request id: the same
 * request then meets its own frame 0, however long ago and on whatever replica the first one ran.
 */
export function createSession(
  deps: Pick<Deps, "log" | "clock" | "config">,
): MethodHandler<typeof SessionService.method.createSession> {
  return async (request, context) => {
    checkRequest(request);
    checkEvents(request.initialEvents, { field: "initial_events", min: 0, max: maxInitialEvents, sender: "client" });
    const sessionId = request.sessionId || derivedId(request) || newId("sesn");
    const { header } = await deps.log.create(
      sessionId,
      { events: [createdEvent(request), ...request.initialEvents], requestId: request.requestId, epoch: 0 },
      appendContext(context, deps.clock.nowMs(), deps.config.log.appendTimeoutMs),
    );
    return { session: sessionToWire(sessionId, header) };
  };
}

function derivedId(request: CreateSessionRequest): string | undefined {
  if (request.requestId === "") return undefined;
  const digest = createHash("sha256").update(`${request.workspaceId}\n${request.requestId}`).digest("base64url");
  return `sesn_${digest.slice(0, 24)}`;
}

function createdEvent(request: CreateSessionRequest): Event {
  const { workspaceId, agentJson, environmentJson, title, metadata, vaultIds } = request;
  const text = new TextEncoder();
  return create(EventSchema, {
    id: newId("sevt"),
    type: "session.created",
    payload: {
      case: "sessionCreated",
      value: create(SessionCreatedSchema, {
        workspaceId,
        agentJson,
        environmentJson,
        title,
        metadata,
        vaultIds,
        resourcesJson: request.resourcesJson.length === 0 ? text.encode("[]") : request.resourcesJson,
        harnessKind: request.harnessKind || "default",
        budgetJson: request.budgetJson.length === 0 ? text.encode("null") : request.budgetJson,
      }),
    },
  });
}

function checkRequest(request: CreateSessionRequest): void {
  const rule = rules();
  checkWorkspace(rule, request.workspaceId, false);
  checkRequestId(rule, request.requestId);
  checkTitleAndMetadata(rule, request.title, request.metadata);
  const kindRule = "must be empty or 1 to 64 of A-Z a-z 0-9 _ -";
  rule.check(request.harnessKind === "" || isSafeToken(request.harnessKind), "harness_kind", kindRule);
  rule.check(request.sessionId === "" || isId("session", request.sessionId), "session_id", "must be empty or sesn_…");
  request.vaultIds.forEach((id, index) => {
    rule.check(isId("vault", id), `vault_ids[${index}]`, "must be a vault id, vlt_…");
  });
  rule.done();
  const objects = rules();
  objects.check(isJsonObject(parseJson("agent_json", request.agentJson)), "agent_json", "must be a JSON object");
  const environment = parseJson("environment_json", request.environmentJson);
  objects.check(isJsonObject(environment), "environment_json", "must be a JSON object");
  const resources = parseJson("resources_json", request.resourcesJson, []);
  objects.check(
    Array.isArray(resources) && resources.every(isJsonObject),
    "resources_json",
    "must be an array of objects",
  );
  parseJson("budget_json", request.budgetJson, {});
  objects.done();
}
