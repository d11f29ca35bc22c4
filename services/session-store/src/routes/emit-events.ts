import { AppError, type MethodHandler } from "@manyhands/kit";
import type { SessionService } from "@manyhands/protocol";
import type { Deps } from "../deps.ts";
import type { SentFrame } from "../log/session-log.ts";
import { placeFrame } from "../log/stored-event.ts";
import { checkEvents } from "../log/validate-events.ts";
import { emittedEvents } from "./pass-on.ts";
import { appendContext, checkRequestId, checkSessionId, checkWorkspace, rules } from "./request-rules.ts";

const maxEvents = 64;

/** Appends one frame. */
export function emitEvents(
  deps: Pick<Deps, "log" | "clock" | "config">,
): MethodHandler<typeof SessionService.method.emitEvents> {
  return async (request, context) => {
    const { workspaceId, sessionId, expectedPosition } = request;
    const sender = workspaceId === "" ? "platform" : "client";
    const rule = rules();
    checkWorkspace(rule, workspaceId, true);
    checkSessionId(rule, sessionId);
    checkRequestId(rule, request.requestId);
    rule.check(sender === "platform" || request.epoch === 0n, "epoch", "must be 0 for clients");
    rule.check(request.epoch <= BigInt(Number.MAX_SAFE_INTEGER), "epoch", "is too large");
    rule.done();
    const mayRepeat = request.requestId !== "" || request.events.some((event) => event.id !== "");
    checkEvents(request.events, { field: "events", min: 1, max: maxEvents, sender });
    let ready: { readonly payload: Uint8Array; readonly answer: ReturnType<typeof emittedEvents> } | undefined;
    const onSent = ({ payload, headPosition }: SentFrame) => {
      ready = { payload, answer: answerOf(sessionId, payload, headPosition) };
    };
    const appended = await deps.log.append(
      sessionId,
      {
        events: request.events,
        requestId: request.requestId,
        mayRepeat,
        epoch: Number(request.epoch),
        ...(expectedPosition === undefined ? {} : { expectedPosition: Number(expectedPosition) }),
      },
      { ...appendContext(context, deps.clock.nowMs(), deps.config.log.appendTimeoutMs), onSent },
      (header) => {
        if (workspaceId !== "" && header.workspace_id !== workspaceId) throw AppError.notFound("session", sessionId);
      },
    );
    const { payload, headPosition } = appended;
    if (payload !== undefined) {
      return ready?.payload === payload ? ready.answer : answerOf(sessionId, payload, headPosition);
    }
    const { events, duplicate } = appended;
    return { events: [...events], headPosition: BigInt(headPosition), duplicate };
  };
}

/** The events of a frame that was just stored, as they lie in it. */
function answerOf(sessionId: string, payload: Uint8Array, headPosition: number) {
  const { events } = placeFrame({ sessionId, frame: 0, payload });
  return emittedEvents(events, { headPosition: BigInt(headPosition), duplicate: false });
}
