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
const maxResources = 100;

/**
 * Changes title, metadata, budget, agent and resources, by `session.updated`; a change of nothing writes nothing. The
 * agent changes between turns only.
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
    const wanted = resourcesToAdd(request.addResourcesJson);
    const hot = await deps.cache.current(sessionId);
    const before = hot.header;
    if (before?.workspace_id !== workspaceId) throw AppError.notFound("session", sessionId);
    const changed = Object.entries(metadata).filter(([key, value]) => (before.metadata[key] ?? "") !== value);
    const removed = removeResourceIds.filter((id) => before.resources.some((resource) => resource.id === id));
    const added = wanted.filter(({ id }) => !before.resources.some((resource) => resource.id === id));
    const isTitleKept = title === undefined || title === before.title;
    const isKept = changed.length === 0 && removed.length === 0 && added.length === 0;
    if (isTitleKept && isKept && budgetJson === undefined && agentJson === undefined) {
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
          ...(added.length === 0 ? {} : { addedResourcesJson: new TextEncoder().encode(JSON.stringify(added)) }),
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
        const resources = current.resources.length + added.length;
        after.check(
          resources <= maxResources,
          "resources",
          `would be ${resources}, at most ${maxResources} are allowed`,
        );
        after.done();
      },
    );
    return { session: sessionToWire(sessionId, header) };
  };
}

/** Objects with an id, each its own. */
function resourcesToAdd(bytes: Uint8Array): Record<string, unknown>[] {
  const list = parseJson("add_resources_json", bytes, []);
  const rule = rules();
  const isList = Array.isArray(list) && list.every((item) => isJsonObject(item) && typeof item.id === "string");
  rule.check(isList, "add_resources_json", "must be an array of objects with an id");
  rule.done();
  return isList ? list.filter(isJsonObject) : [];
}
