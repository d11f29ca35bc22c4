import { create } from "@bufbuild/protobuf";
import { AppError, type MethodHandler, newId } from "@manyhands/kit";
import { EventSchema, type SessionService } from "@manyhands/protocol";
import type { Deps } from "../deps.ts";
import { sessionToWire } from "../log/header-wire.ts";
import {
  appendContext,
  checkSessionId,
  checkTitleAndMetadata,
  checkWorkspace,
  isJsonObject,
  parseJson,
  rules,
} from "./request-rules.ts";

const maxPairs = 16;
const maxRemoved = 100;

/**
 * Changes title, metadata, budget and agent and takes resources away, by `session.updated`; a change of nothing writes
 * nothing. The agent changes between turns only.
 */
export function updateSession(
  deps: Pick<Deps, "log" | "cache" | "clock" | "config">,
): MethodHandler<typeof SessionService.method.updateSession> {
  return async (request, context) => {
    const { workspaceId, sessionId, title, metadata, removeResourceIds, budgetJson, agentJson } = request;
    const rule = rules();
    checkWorkspace(rule, workspaceId, false);
    checkSessionId(rule, sessionId);
    checkTitleAndMetadata(rule, title ?? "", metadata, true);
    rule.check(removeResourceIds.length <= maxRemoved, "remove_resource_ids", `must be at most ${maxRemoved} ids`);
    const isAgent = agentJson === undefined || isJsonObject(parseJson("agent_json", agentJson));
    rule.check(isAgent, "agent_json", "must be a JSON object");
    rule.done();
    if (budgetJson !== undefined) parseJson("budget_json", budgetJson);
    const hot = await deps.cache.current(sessionId);
    const before = hot.header;
    if (before?.workspace_id !== workspaceId) throw AppError.notFound("session", sessionId);
    const changed = Object.entries(metadata).filter(([key, value]) => (before.metadata[key] ?? "") !== value);
    const removed = removeResourceIds.filter((id) => before.resources.some((resource) => resource.id === id));
    const isTitleKept = title === undefined || title === before.title;
    const isSetupKept = budgetJson === undefined && agentJson === undefined;
    if (isTitleKept && changed.length === 0 && removed.length === 0 && isSetupKept) {
      return { session: sessionToWire(sessionId, before) };
    }
    const event = create(EventSchema, {
      id: newId("sevt"),
      type: "session.updated",
      payload: {
        case: "sessionUpdated",
        value: {
          metadata: Object.fromEntries(changed),
          removedResourceIds: removed,
          ...(title === undefined ? {} : { title }),
          ...(budgetJson === undefined ? {} : { budgetJson }),
          ...(agentJson === undefined ? {} : { agentJson }),
        },
      },
    });
    const { header } = await deps.log.append(
      sessionId,
      { events: [event], requestId: "", epoch: 0 },
      appendContext(context, deps.clock.nowMs(), deps.config.log.appendTimeoutMs),
      (current) => {
        if (agentJson !== undefined && (current.status === "running" || current.status === "rescheduling"))
          throw AppError.conflict("SESSION_RUNNING", "agent: cannot be changed while the session is running");
        const merged = Object.values({ ...current.metadata, ...metadata }).filter((value) => value !== "");
        const after = rules();
        after.check(
          merged.length <= maxPairs,
          "metadata",
          `would hold ${merged.length} pairs, at most ${maxPairs} are allowed`,
        );
        after.done();
      },
    );
    return { session: sessionToWire(sessionId, header) };
  };
}
