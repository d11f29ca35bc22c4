/** Operations under a grant: noted before they begin, bounded by its end, and cut when it is revoked. */
import { AppError, toAppError } from "@manyhands/kit";
import type { HeldHand } from "../hands/held-hands.ts";
import type { Manager } from "../hands/manager.ts";
import { type Call, type Follow, followOperation, type Item, runCall } from "../hands/run-operation.ts";
import { type Admitted, allowed, checkEpoch, noteOperation } from "./admit.ts";
import type { Use } from "./decide.ts";
import type { Grant } from "./grant.ts";
import type { RunningUse } from "./running-uses.ts";
import { tellCall, tellOtherUse } from "./tell-uses.ts";

const REVOKED_WORDS = "killed: the right to use this sandbox was revoked";

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
    await tellCall(manager, held, use, call);
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

/** Follows an operation for as long as the grant lives. One that was not begun under it is told before. */
export async function* followUnderGrant(
  manager: Manager,
  held: HeldHand,
  followed: Follow,
  admission: Admitted,
): AsyncGenerator<Item> {
  const { grant } = admission;
  const running = manager.uses.begin(grant.grantId);
  const over = AbortSignal.timeout(Math.max(1, admission.untilMs - manager.clock.nowMs()));
  const signal = AbortSignal.any([followed.signal, running.cut, over]);
  try {
    if (!grant.operations.includes(followed.operationId)) {
      await tellOtherUse(manager, held, grant, { use: "attach", operationId: followed.operationId });
    }
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
