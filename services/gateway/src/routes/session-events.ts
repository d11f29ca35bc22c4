import { isPlatformEvent } from "@manyhands/core";
import { AppError, newId } from "@manyhands/kit";
import { decodeEvent, type Event, encodeEvent, wireEventTypes } from "@manyhands/protocol";
import type { Deps } from "../deps.ts";
import { findSent } from "../events/find-sent.ts";
import { type ShownEvent, toPublicEvent } from "../events/public-event.ts";
import { checkReferences } from "../events/read-reference.ts";
import { forWorker } from "../events/worker-view.ts";
import type { Call } from "../http/call.ts";
import { check, param, readQuery } from "../http/query.ts";
import { type ClientEventInput, eventsSend, toNewEvent } from "../schemas/events.ts";
import type { Page } from "../sdk-types.ts";
import { createdRange, createdRangeParams, readSession } from "./sessions.ts";

type EventDeps = Pick<Deps, "sessions" | "work" | "sessionEnvironments">;

/** Handlers of `sessions.events.send` and `.list`. */
export const sessionEventRoutes = (deps: EventDeps) => ({
  "sessions.events.send": async (call: Call): Promise<{ data: ShownEvent[] }> => {
    const { events } = check(eventsSend, call.body, "body");
    const place = { workspaceId: call.caller.workspaceId, sessionId: call.param("session"), rpc: call.rpc };
    await checkReferences(deps.sessions, place, events);
    await admit(deps, call, events);
    const { requestId, orphanRetry } = call.identity();
    const made = events.map((event) => toNewEvent(event, newId("sevt")));
    const earlier = orphanRetry ? await findSent(deps.sessions, place, made) : undefined;
    if (earlier !== undefined) return { data: show(earlier, false) };
    const request = {
      workspaceId: place.workspaceId,
      sessionId: place.sessionId,
      requestId,
      events: made.map(encodeEvent),
    };
    const stored = await deps.sessions.emitEvents(request, call.rpc);
    return { data: show(stored.events, false) };
  },

  "sessions.events.list": async (call: Call): Promise<Page<ShownEvent>> => {
    const query = readQuery(call.query, {
      limit: param.limit(1000),
      page: param.text(),
      types: param.texts(100),
      order: param.oneOf(["asc", "desc"]),
      x_include_platform: param.flag(),
      ...createdRangeParams,
    });
    const platform = query.x_include_platform;
    refuseUnknownTypes(query.types, platform);
    const page = await deps.sessions.getEvents(
      {
        workspaceId: call.caller.workspaceId,
        sessionId: call.param("session"),
        types: query.types,
        descending: query.order === "desc",
        pageSize: query.limit,
        pageToken: query.page ?? "",
        includePlatform: platform,
        ...createdRange(query),
      },
      call.rpc,
    );
    const data = show(page.events, platform);
    return { data: call.caller.work === undefined ? data : data.map(forWorker), next_page: page.nextPageToken || null };
  },
});

function show(events: readonly Event[], platform: boolean): ShownEvent[] {
  return events.flatMap((event) => toPublicEvent(decodeEvent(event), { platform }) ?? []);
}

const ofWorkers: ReadonlySet<string> = new Set(["user.tool_result", "user.custom_tool_result"]);

/** Refuses what does not belong here, and sees to it that a self-hosted session has a worker to come. */
async function admit(deps: EventDeps, call: Call, events: readonly ClientEventInput[]): Promise<void> {
  const { workspaceId, work } = call.caller;
  if (work !== undefined) {
    if (events.every((event) => ofWorkers.has(event.type))) return;
    throw AppError.denied("OUT_OF_SCOPE", "a work item's token sends results of tools and nothing else");
  }
  const sessionId = call.param("session");
  const environment = await deps.sessionEnvironments.of(workspaceId, sessionId, () => readSession(deps, call));
  if (!environment.isSelfHosted) refuseOnCloud(events);
  // First, so that a repeat after a failure does it too: an offer too many costs nothing.
  else await deps.work.offerWork({ workspaceId, environmentId: environment.id, sessionId }, call.rpc);
}

/** In a cloud environment the platform itself answers tool uses. */
function refuseOnCloud(events: readonly ClientEventInput[]): void {
  const problems = events.flatMap((event, index) =>
    event.type === "user.tool_result"
      ? [
          {
            field: `events[${index}].type`,
            description: "user.tool_result is for sessions of self_hosted environments",
          },
        ]
      : [],
  );
  if (problems.length > 0) throw AppError.invalid(problems);
}

const knownTypes: ReadonlySet<string> = new Set(wireEventTypes);

function refuseUnknownTypes(types: readonly string[], platform: boolean): void {
  const problems = types
    .filter((type) => !knownTypes.has(type) || (!platform && isPlatformEvent(type)))
    .map((type) => ({ field: "types", description: `${type.slice(0, 64)} is not an event type that can be listed` }));
  if (problems.length > 0) throw AppError.invalid(problems);
}
