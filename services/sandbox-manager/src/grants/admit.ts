/** Whether a caller may do what it asks of a hand: its own session's, or one that was granted the right. */
import { AppError } from "@manyhands/kit";
import type { HandRecord } from "../hands/hand-record.ts";
import type { HeldHand } from "../hands/held-hands.ts";
import type { Manager } from "../hands/manager.ts";
import { decideUse, type Use, type Verdict } from "./decide.ts";
import { type Grant, type HandGrants, MAX_OPERATIONS } from "./grant.ts";
import type { StoredGrants } from "./grant-store.ts";
import { verifyToken } from "./token.ts";

const WRITES = 16;

/** Who asks: the fields of that name in each request. Both empty: the platform itself. */
export type Asker = { readonly sessionId: string; readonly grantToken: string };

/** What is asked; see `Use`. */
export type Ask = Pick<Use, "rights" | "tool">;

/** A grant that allows it. */
export type Admitted = { readonly grant: Grant; readonly stored: StoredGrants; readonly untilMs: number };

/**
 * Undefined for the hand's own session and the platform; the grant for who holds one. FENCED for the session that it was
 * moved from, NOT_FOUND for anybody else, as for a hand that never was; PERMISSION_DENIED for a holder whose grant does
 * not allow it.
 */
export async function admitAsker(
  manager: Manager,
  handId: string,
  asker: Asker,
  ask: Ask,
): Promise<Admitted | undefined> {
  const { sessionId, grantToken } = asker;
  if (grantToken === "") {
    if (sessionId === "") return undefined;
    const record = await recordOf(manager, handId);
    if (record?.sessionId === sessionId) return undefined;
    if (record?.handId !== handId || record.moved?.fromSessionId !== sessionId) throw AppError.notFound("hand", handId);
    throw AppError.fenced(`hand ${handId} was transferred to another session`, { transferred: "true" });
  }
  const grantId = await grantOf(manager, handId, asker);
  const stored = await manager.grants.read(handId);
  return { ...allowed(handId, decideUse(stored.all, { grantId, sessionId, ...ask }, manager.clock.nowMs())), stored };
}

/** The grant that a token names. */
export async function grantOf(manager: Manager, handId: string, { sessionId, grantToken }: Asker): Promise<string> {
  if (sessionId === "") throw AppError.invalid([{ field: "session_id", description: "is required with grant_token" }]);
  const named = verifyToken(await manager.grants.key(), grantToken, sessionId);
  if (named?.handId !== handId) throw AppError.notFound("hand", handId);
  return named.grantId;
}

/** True for an operation that a session began in a hand before it was moved on: how it ends is still its own to see. */
export async function isFormerOperation(
  manager: Manager,
  handId: string,
  { sessionId, grantToken }: Asker,
  operationId: string,
): Promise<boolean> {
  if (sessionId === "" || grantToken !== "") return false;
  const record = await recordOf(manager, handId);
  if (record?.handId !== handId || record.sessionId === sessionId) return false;
  const former = record.formerOperations ?? [];
  return former.some((one) => one.sessionId === sessionId && one.operationId === operationId);
}

async function recordOf(manager: Manager, handId: string): Promise<HandRecord | undefined> {
  return manager.held.get(handId)?.stored.record ?? (await manager.store.byId(handId))?.record;
}

/** A use that is allowed, or the refusal in words. */
export function allowed(handId: string, verdict: Verdict): { readonly grant: Grant; readonly untilMs: number } {
  if (verdict.allowed) return verdict;
  switch (verdict.why) {
    case "unknown":
      throw AppError.notFound("hand", handId);
    case "revoked":
      throw AppError.denied("GRANT_REVOKED", `the right to use hand ${handId} was revoked`);
    case "expired":
      throw AppError.denied("GRANT_EXPIRED", `the right to use hand ${handId} is over`);
    case "right":
      throw AppError.denied("GRANT_RIGHT", `the grant does not give the right to do this with hand ${handId}`);
    case "tool":
      throw AppError.denied("GRANT_TOOL", `the grant does not give the right to use this tool of hand ${handId}`);
  }
}

/** One change of a hand's grants, decided again when another one was faster. `change` answers undefined for none. */
export async function changeGrants(
  manager: Manager,
  handId: string,
  change: (all: HandGrants) => HandGrants | undefined,
): Promise<HandGrants> {
  for (let round = 0; round < WRITES; round++) {
    const { all, revision } = await manager.grants.read(handId);
    const changed = change(all);
    if (!changed) return all;
    const written = await manager.grants.write(changed, revision);
    if (written) return written.all;
  }
  throw AppError.unavailable("GRANTS_BUSY", `the grants of hand ${handId} change too often`);
}

/**
 * Writes down, before it begins, that an operation runs under a grant, and the epoch of the brain that asks. The same
 * operation again changes nothing. Judged anew at each try: who revokes meanwhile, wins.
 */
export async function noteOperation(
  manager: Manager,
  held: HeldHand,
  use: Use & { readonly operationId: string; readonly epoch: number },
): Promise<{ readonly untilMs: number }> {
  const { handId } = held.hand;
  const gone = await endedOf(held, (await manager.grants.read(handId)).all, use.grantId);
  let untilMs = 0;
  await changeGrants(manager, handId, (all) => {
    const verdict = allowed(handId, decideUse(all, use, manager.clock.nowMs()));
    untilMs = verdict.untilMs;
    const { operations, brainEpoch } = verdict.grant;
    checkEpoch(use.epoch, brainEpoch);
    const isKnown = operations.includes(use.operationId);
    if (isKnown && use.epoch <= brainEpoch) return undefined;
    const kept = isKnown ? operations : [...operations.filter((id) => !gone.has(id)), use.operationId];
    if (kept.length > MAX_OPERATIONS)
      throw AppError.exhausted("GRANT_BUSY", `${MAX_OPERATIONS} operations run under this grant`, 1000);
    const changed = { ...verdict.grant, operations: kept, brainEpoch: Math.max(use.epoch, brainEpoch) };
    return { ...all, grants: all.grants.map((one) => (one.grantId === use.grantId ? changed : one)) };
  });
  return { untilMs };
}

/** A brain of an older epoch of the receiving session is refused. */
export function checkEpoch(asked: number, known: number): void {
  if (asked === 0 || asked >= known) return;
  throw AppError.fenced(`epoch ${asked} is over: epoch ${known} uses this grant`, { current_epoch: String(known) });
}

/** Those of a full grant's operations that have ended: they need no cutting any more. */
async function endedOf({ hand }: HeldHand, all: HandGrants, grantId: string): Promise<ReadonlySet<string>> {
  const operations = all.grants.find((grant) => grant.grantId === grantId)?.operations ?? [];
  if (operations.length < MAX_OPERATIONS) return new Set();
  const states = await Promise.all(operations.map(async (id) => [id, (await hand.state(id))?.phase] as const));
  return new Set(states.filter(([, phase]) => phase === "exited" || phase === "unknown").map(([id]) => id));
}
