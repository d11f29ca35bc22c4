import { durationMs, timestampFromMs } from "@bufbuild/protobuf/wkt";
import { AppError, type FieldViolation, forwardCall, type MethodHandler, type RpcContext } from "@manyhands/kit";
import type { GrantRequest, NarrowGrantRequest, SandboxService } from "@manyhands/protocol";
import { cutUnder } from "../grants/cut.ts";
import {
  endGrant,
  type Given,
  type GrantWish,
  giveGrant,
  handOfGrant,
  narrowGrant as narrow,
  receivedGrant,
  sessionLogOf,
  tellEnded,
} from "../grants/pass-hands.ts";
import { findHand } from "../hands/find-hand.ts";
import type { Manager } from "../hands/manager.ts";
import { FORWARDED } from "../hands/peers.ts";
import { checkedId } from "./hand-codec.ts";

/** A right for another session. */
export function grant(manager: Manager): MethodHandler<typeof SandboxService.method.grant> {
  return async (request) => {
    if (request.handId === "") throw AppError.invalid([{ field: "hand_id", description: "is required" }]);
    checkedId("to_session_id", request.toSessionId);
    return given(await giveGrant(manager, request.handId, request.sessionId, wishFrom(request)));
  };
}

/** A weaker one. */
export function narrowGrant(manager: Manager): MethodHandler<typeof SandboxService.method.narrowGrant> {
  return async (request) => {
    const problems: FieldViolation[] = [];
    if (request.token === "") problems.push({ field: "token", description: "is required" });
    if (request.sessionId === "") problems.push({ field: "session_id", description: "is required" });
    if (problems.length > 0) throw AppError.invalid(problems);
    if (request.toSessionId !== "") checkedId("to_session_id", request.toSessionId);
    const asker = { sessionId: request.sessionId, grantToken: request.token };
    return given(await narrow(manager, asker, wishFrom(request)));
  };
}

/** A grant and its token, for the session that received it. */
export function getGrant(manager: Manager): MethodHandler<typeof SandboxService.method.getGrant> {
  return async ({ grantId, sessionId }) => {
    const problems: FieldViolation[] = [];
    if (grantId === "") problems.push({ field: "grant_id", description: "is required" });
    if (sessionId === "") problems.push({ field: "session_id", description: "is required" });
    if (problems.length > 0) throw AppError.invalid(problems);
    const { grant, token } = await receivedGrant(manager, grantId, sessionId);
    const { rights, tools, expiresAtMs, handId } = grant;
    return { handId, token, rights: [...rights], tools: [...tools], expiresAt: timestampFromMs(expiresAtMs) };
  };
}

/**
 * The end of a grant. It is durable first; then the manager that holds the hand cuts what runs; then the logs are told
 * by the one that was asked.
 */
export function revokeGrant(manager: Manager): MethodHandler<typeof SandboxService.method.revokeGrant> {
  return async ({ grantId, sessionId }, context) => {
    if (grantId === "") throw AppError.invalid([{ field: "grant_id", description: "is required" }]);
    sessionLogOf(manager);
    const handId = await handOfGrant(manager, grantId, sessionId);
    const ended = await endGrant(manager, handId, grantId);
    const where = await findHand(manager, handId);
    if (where.kind === "here") await cutUnder(manager, where.held, ended);
    if (where.kind === "elsewhere") {
      const peer = manager.peers.client(where.address);
      await peer.revokeGrant({ grantId, sessionId }, onceForwarded(context));
    }
    if (context.metadata[FORWARDED]) return {};
    // Of a hand that was moved since, each grant's own sessions know.
    const record = (await manager.store.byId(handId))?.record;
    const owner = record?.handId === handId ? record.sessionId : (ended[0]?.fromSessionId ?? "");
    await tellEnded(manager, handId, owner, ended);
    return {};
  };
}

/** How a call is passed on to the manager that holds the hand; refused when it was passed on already. */
export function onceForwarded(context: RpcContext): ReturnType<typeof forwardCall> {
  if (context.metadata[FORWARDED])
    throw AppError.unavailable("HAND_MOVED", "the hand moved while the call was passed on");
  const options = forwardCall(context);
  return { ...options, metadata: { ...options.metadata, [FORWARDED]: "1" } };
}

function wishFrom(request: GrantRequest | NarrowGrantRequest): GrantWish {
  const { rights, tools, ttl, toSessionId, requestId } = request;
  if (requestId !== "") checkedId("request_id", requestId);
  return { rights, tools, ttlMs: ttl && durationMs(ttl), toSessionId, requestId };
}

function given({ grant: { grantId, expiresAtMs }, token }: Given) {
  return { grantId, token, expiresAt: timestampFromMs(expiresAtMs) };
}
