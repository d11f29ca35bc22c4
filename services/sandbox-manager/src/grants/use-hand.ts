/** Operations under a grant: noted before they begin, bounded by its end, and cut when it is revoked. */
import { createHash } from "node:crypto";
import { AppError, toAppError } from "@manyhands/kit";
import type { HeldHand } from "../hands/held-hands.ts";
import type { Manager } from "../hands/manager.ts";
import { type Call, type Follow, followOperation, type Item, runCall } from "../hands/run-operation.ts";
import { type Admitted, allowed, checkEpoch, noteOperation } from "./admit.ts";
import type { Use } from "./decide.ts";
import type { Grant } from "./grant.ts";
import { sessionLogOf } from "./pass-hands.ts";
import type { RunningUse } from "./running-uses.ts";

/** A tool's name comes from whoever calls; its beginning is enough for a log. */
const MAX_TOOL_CHARACTERS = 64;
const REVOKED_WORDS = "killed: the right to use this sandbox was revoked";

/**
 * Tells the log of the hand's own session who calls what in it, before it begins. The same call again is told once. A
 * holder that is the hand's own session by now has it in its own log.
 */
async function tellOwner(manager: Manager, held: HeldHand, call: Call, use: Use): Promise<void> {
  const { sessionId: ownerId, handId } = held.stored.record;
  if (ownerId === use.sessionId) return;
  const requestId = `used_${createHash("sha256").update(call.operationId).digest("hex").slice(0, 40)}`;
  await sessionLogOf(manager).record(ownerId, requestId, {
    id: "",
    type: "hand.used",
    hand_id: handId,
    grant_id: use.grantId,
    by_session_id: use.sessionId,
    operation_id: call.operationId,
    tool: call.name.slice(0, MAX_TOOL_CHARACTERS),
  });
}

/** Runs a call of a session that was granted the right. It is killed when the grant ends, and when it is revoked. */
export async function* runUnderGrant(
  manager: Manager,
  held: HeldHand,
  call: Call,
  use: Use & { readonly epoch: number },
): AsyncGenerator<Item> {
  // Known here before it is noted: a revocation that does not see the note sees this.
  const running = manager.uses.begin(use.grantId);
  try {
    const { untilMs } = await noteOperation(manager, held, { ...use, operationId: call.operationId });
    await tellOwner(manager, held, call, use);
    const capMs = Math.max(1, untilMs - manager.clock.nowMs());
    for await (const item of runCall(manager, held, { ...call, capMs })) {
      // Revoked between the note and the start: what was to be cut was not there yet.
      if (item.type === "started" && running.cut.aborted) await held.hand.cancel(call.operationId);
      yield item.type === "result" && running.cut.aborted ? inWords(item) : item;
    }
  } finally {
    running.end();
  }
}

function inWords(item: Item & { readonly type: "result" }): Item {
  const { result } = item;
  if (result.killedBy !== "cancel") return item;
  return { ...item, result: { ...result, content: result.content.replace("killed: it was canceled", REVOKED_WORDS) } };
}

/** Follows an operation for as long as the grant lives. */
export async function* followUnderGrant(
  manager: Manager,
  held: HeldHand,
  followed: Follow,
  admission: Admitted,
): AsyncGenerator<Item> {
  const running = manager.uses.begin(admission.grant.grantId);
  const over = AbortSignal.timeout(Math.max(1, admission.untilMs - manager.clock.nowMs()));
  const signal = AbortSignal.any([followed.signal, running.cut, over]);
  try {
    for await (const item of followOperation(manager, held, { ...followed, signal })) {
      stillAllowed(manager, held.hand.handId, admission, running);
      yield item;
    }
  } catch (error) {
    if (!followed.signal.aborted) stillAllowed(manager, held.hand.handId, admission, running);
    throw toAppError(error);
  } finally {
    running.end();
  }
}

/** Refuses what comes after the end of a grant, in the middle of a stream. */
export function stillAllowed(
  manager: Manager,
  handId: string,
  { untilMs }: Pick<Admitted, "untilMs">,
  { cut }: RunningUse,
): void {
  if (cut.aborted) allowed(handId, { allowed: false, why: "revoked" });
  if (untilMs <= manager.clock.nowMs()) allowed(handId, { allowed: false, why: "expired" });
}

/** With `attach` any operation may be followed, else only those begun under the grant. */
export function checkFollower(grant: Grant, operationId: string, epoch: number): void {
  if (grant.rights.includes("attach")) checkEpoch(epoch, grant.brainEpoch);
  else checkOwnOperation(grant, operationId, epoch);
}

/** Refuses an operation that was not begun under this grant, as one that never was. */
export function checkOwnOperation({ operations, brainEpoch }: Grant, operationId: string, epoch: number): void {
  if (!operations.includes(operationId)) throw AppError.notFound("operation", operationId);
  checkEpoch(epoch, brainEpoch);
}
