import { createHash } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import type { SessionHeader } from "@manyhands/core";
import { AppError, type MethodHandler, newId } from "@manyhands/kit";
import { EventSchema, type ForkSessionRequest, type SessionService } from "@manyhands/protocol";
import { buildFirstFrame } from "../carry/first-frame.ts";
import { findForkPoint } from "../carry/fork-point.ts";
import type { Deps } from "../deps.ts";
import type { BuiltFrame } from "../log/build-frame.ts";
import { idReused } from "../log/errors.ts";
import { sessionToWire } from "../log/header-wire.ts";
import { createHotSession, decodeFrame, type HotSession, hashOf } from "../log/hot-session.ts";
import type { AppendContext } from "../log/session-log.ts";
import { maxForkDepth } from "../store/shared-history.ts";
import { appendContext, checkRequestId, checkSessionId, checkWorkspace, rules } from "./request-rules.ts";

type ForkDeps = Pick<Deps, "log" | "cache" | "store" | "clock" | "config">;

/**
 * Makes a fork by one append: its first frame. With a `request_id` the fork's id is a hash of it, so that a repeat meets
 * its own frame.
 */
export function forkSession(deps: ForkDeps): MethodHandler<typeof SessionService.method.forkSession> {
  return async (request, context) => {
    const { workspaceId, sessionId } = request;
    const rule = rules();
    checkWorkspace(rule, workspaceId, false);
    checkSessionId(rule, sessionId);
    checkRequestId(rule, request.requestId);
    rule.done();
    const forkId = derivedId(request) ?? newId("sesn");
    const repeated = await answerRepeat(deps, request, forkId);
    if (repeated !== undefined) return { session: sessionToWire(forkId, repeated) };
    const hot = await deps.cache.current(sessionId);
    const { header } = hot;
    if (header?.workspace_id !== workspaceId) throw AppError.notFound("session", sessionId);
    checkPoint(request.atPosition, header.head_position);
    await checkDepth(deps, sessionId);
    const position = Number(request.atPosition);
    const point = await findForkPoint(deps.store, hot, position);
    const built = buildFirstFrame(forkId, { sessionId, position, carrierId: "", header }, point, {
      requestId: request.requestId,
      nowMs: deps.clock.nowMs(),
    });
    const bounds = appendContext(context, deps.clock.nowMs(), deps.config.log.appendTimeoutMs);
    if (!(await deps.log.begin(built, bounds)) || built.header === undefined) {
      const other = await answerRepeat(deps, request, forkId);
      if (other === undefined) throw idReused("request_id", request.requestId);
      return { session: sessionToWire(forkId, other) };
    }
    await checkStillThere(deps, hot, built, bounds);
    return { session: sessionToWire(forkId, built.header) };
  };
}

function derivedId({ workspaceId, sessionId, requestId }: ForkSessionRequest): string | undefined {
  if (requestId === "") return undefined;
  const digest = createHash("sha256").update(`fork\n${workspaceId}\n${sessionId}\n${requestId}`).digest("base64url");
  return `sesn_${digest.slice(0, 24)}`;
}

function checkPoint(atPosition: bigint, head: number): void {
  const rule = rules();
  rule.check(atPosition >= 1n && atPosition <= BigInt(head), "at_position", `must be 1 to the head, ${head}`);
  rule.done();
}

async function checkDepth(deps: ForkDeps, sessionId: string): Promise<void> {
  const depth = (await deps.store.keepers(sessionId)).length;
  if (depth < maxForkDepth) return;
  const message = `session ${sessionId} is the fork of a fork ${depth} times over; at most ${maxForkDepth} are allowed`;
  throw new AppError("fenced", { reason: "FORK_TOO_DEEP", message });
}

/** The fork that the same request made before; undefined when there is none. */
async function answerRepeat(
  deps: ForkDeps,
  request: ForkSessionRequest,
  forkId: string,
): Promise<SessionHeader | undefined> {
  if (request.requestId === "" || !(await deps.store.exists(forkId))) return undefined;
  const [own] = await deps.store.keepers(forkId);
  const [first] = await deps.store.read(forkId, [own?.from ?? 0]);
  const frame = first === undefined ? undefined : decodeFrame(first);
  const forked = frame?.events.at(-1)?.payload;
  const isSame =
    frame?.requestId === request.requestId &&
    forked?.case === "sessionForked" &&
    forked.value.originSessionId === request.sessionId &&
    forked.value.originPosition === request.atPosition;
  if (!isSame) throw idReused("request_id", request.requestId);
  return (await deps.cache.current(forkId)).header;
}

/** An origin that was deleted meanwhile takes the fork with it: its frames may be gone. */
async function checkStillThere(
  deps: ForkDeps,
  origin: HotSession,
  built: BuiltFrame,
  bounds: AppendContext,
): Promise<void> {
  try {
    await deps.cache.catchUp(origin);
    if (origin.header?.deleted !== true) return;
  } catch (error) {
    if (!(error instanceof AppError) || error.kind !== "notFound") throw error;
  }
  const deleted = create(EventSchema, {
    id: newId("sevt"),
    type: "session.deleted",
    payload: { case: "sessionDeleted", value: {} },
  });
  const forkId = built.message.sessionId;
  // Put there as it was made: what it shares can perhaps not be read any more.
  const fork = createHotSession(forkId, built.message.frame);
  fork.header = built.header;
  fork.nextFrame = built.message.frame + 1;
  fork.lastHash = hashOf(built.message.payload);
  deps.cache.put(fork);
  const request = { events: [deleted], requestId: "", epoch: 0, mayRepeat: false };
  await deps.log.remove(forkId, request, bounds, () => undefined);
  await deps.store.purge(forkId);
  deps.cache.drop(forkId);
  throw AppError.notFound("session", origin.sessionId);
}
