/**
 * Giving, weakening and ending rights to a hand. A grant is written, then told to both logs, then answered with its
 * token: nobody can use what no log has. An end is written first, so that it holds from then on whatever fails after
 * it; then what runs under it is cut, then the logs are told. Each step may be repeated.
 */
import type { NewEvent } from "@manyhands/core";
import { AppError, newId } from "@manyhands/kit";
import type { HandRecord } from "../hands/hand-record.ts";
import type { Manager } from "../hands/manager.ts";
import { type Asker, allowed, changeGrants } from "./admit.ts";
import { chainOf, decideUse, firstTerms, revoke, type Terms, type Wish, weakerTerms, withGrant } from "./decide.ts";
import { type Grant, type HandGrants, MAX_GRANTS } from "./grant.ts";
import type { SessionLog } from "./session-log.ts";
import { signToken, verifyToken } from "./token.ts";

/** A grant as its receiver gets it. */
export type Given = { readonly grant: Grant; readonly token: string };

/** What a new grant is made from. */
export type GrantWish = Wish & { readonly toSessionId: string; readonly requestId: string };

/** A grant by the hand's own session. */
export async function giveGrant(
  manager: Manager,
  handId: string,
  bySessionId: string,
  wish: GrantWish,
): Promise<Given> {
  const log = sessionLogOf(manager);
  const record = await livingHand(manager, handId, bySessionId);
  await sameWorkspace(log, record.sessionId, wish.toSessionId);
  const nowMs = manager.clock.nowMs();
  const terms = termsOr(firstTerms(wish, nowMs));
  return give(manager, record, () => ({ terms, parentId: "", fromSessionId: record.sessionId }), wish);
}

/** A weaker grant, by the holder of a grant. */
export async function narrowGrant(manager: Manager, asker: Asker, wish: GrantWish): Promise<Given> {
  const log = sessionLogOf(manager);
  const named = verifyToken(await manager.grants.key(), asker.grantToken, asker.sessionId);
  if (!named) throw AppError.notFound("grant", "of this token");
  const { handId, grantId } = named;
  const toSessionId = wish.toSessionId || asker.sessionId;
  const record = await livingHand(manager, handId, "");
  await sameWorkspace(log, record.sessionId, toSessionId);
  const isForOther = toSessionId !== asker.sessionId;
  const terms = (all: HandGrants) => {
    const nowMs = manager.clock.nowMs();
    const rights = isForOther ? (["transfer"] as const) : (["execute", "read", "attach", "transfer"] as const);
    const use = { grantId, sessionId: asker.sessionId, rights };
    const { grant, untilMs } = allowed(handId, decideUse(all, use, nowMs));
    return {
      terms: termsOr(weakerTerms(grant, untilMs, wish, nowMs)),
      parentId: grantId,
      fromSessionId: asker.sessionId,
    };
  };
  return give(manager, record, terms, { ...wish, toSessionId });
}

type Origin = Pick<Grant, "parentId" | "fromSessionId"> & { readonly terms: Terms };

async function give(
  manager: Manager,
  { handId, sessionId }: HandRecord,
  originOf: (all: HandGrants) => Origin,
  { toSessionId, requestId }: GrantWish,
): Promise<Given> {
  let grant: Grant | undefined;
  await changeGrants(manager, handId, (all) => {
    const { terms, ...origin } = originOf(all);
    const { fromSessionId } = origin;
    grant = all.grants.find(
      (one) => requestId !== "" && one.requestId === requestId && one.fromSessionId === fromSessionId,
    );
    if (grant) return undefined;
    const fresh = { revokedAtMs: 0, brainEpoch: 0, operations: [], requestId };
    grant = { grantId: newId("grant"), ...origin, toSessionId, ...terms, ...fresh };
    const more = withGrant(all, grant, manager.clock.nowMs());
    if (!more)
      throw AppError.exhausted("TOO_MANY_GRANTS", `hand ${handId} has ${MAX_GRANTS} grants, or a chain of 8, already`);
    return more;
  });
  if (!grant) throw AppError.internal(new Error("a grant was written and is not there"));
  const { grantId } = grant;
  const to = grant.toSessionId;
  const event: NewEvent<"hand.granted"> = {
    id: "",
    type: "hand.granted",
    hand_id: handId,
    grant_id: grantId,
    to_session_id: to,
    rights: [...grant.rights],
    tools: [...grant.tools],
  };
  const others = [sessionId, grant.fromSessionId].filter((one) => one !== to);
  await tell(manager, others, `granted_${grantId}`, event);
  await tell(manager, [to], `granted_${grantId}`, { ...event, received: true });
  const token = signToken(await manager.grants.key(), { handId, grantId, sessionId: grant.toSessionId });
  return { grant, token };
}

/** A grant as the session that received it gets it once more; for every other one it does not exist. */
export async function receivedGrant(
  manager: Manager,
  grantId: string,
  sessionId: string,
): Promise<Given & { readonly grant: { readonly handId: string } }> {
  const handId = await manager.grants.handOf(grantId);
  const all = handId === undefined ? [] : (await manager.grants.read(handId)).all.grants;
  const grant = all.find((one) => one.grantId === grantId && one.toSessionId === sessionId);
  if (handId === undefined || !grant) throw AppError.notFound("grant", grantId);
  return { grant: { ...grant, handId }, token: signToken(await manager.grants.key(), { handId, grantId, sessionId }) };
}

/** The hand of a grant, when this session may end it: the hand's own, one along its chain, or its holder. */
export async function handOfGrant(manager: Manager, grantId: string, bySessionId: string): Promise<string> {
  const handId = await manager.grants.handOf(grantId);
  const found = handId === undefined ? undefined : await manager.store.byId(handId);
  if (handId === undefined || !found) throw AppError.notFound("grant", grantId);
  const chain = chainOf((await manager.grants.read(handId)).all, grantId);
  const { handId: present, sessionId } = found.record;
  const mayEnd = [
    ...(present === handId ? [sessionId] : []),
    ...chain.flatMap(({ fromSessionId }) => [fromSessionId]),
    ...chain.slice(0, 1).map(({ toSessionId }) => toSessionId),
  ];
  if (chain.length === 0 || (bySessionId !== "" && !mayEnd.includes(bySessionId)))
    throw AppError.notFound("grant", grantId);
  return handId;
}

/** Ends a grant and those made from it; answers all of them. Nothing is cut and nobody told yet. */
export async function endGrant(manager: Manager, handId: string, grantId: string): Promise<readonly Grant[]> {
  let branch: readonly Grant[] = [];
  await changeGrants(manager, handId, (all) => {
    const ended = revoke(all, grantId, manager.clock.nowMs());
    branch = ended.branch;
    const isChange = ended.all.grants.some((grant, index) => grant !== all.grants[index]);
    return isChange ? ended.all : undefined;
  });
  return branch;
}

/** Tells the logs of ended grants: that of the hand's own session, and of each that gave or had one. */
export async function tellEnded(
  manager: Manager,
  handId: string,
  ownerSessionId: string,
  ended: readonly Grant[],
): Promise<void> {
  for (const { grantId, fromSessionId, toSessionId } of ended) {
    const event = { id: "", type: "hand.revoked", hand_id: handId, grant_id: grantId } as const;
    await tell(manager, [ownerSessionId, fromSessionId, toSessionId], `revoked_${grantId}`, event);
  }
}

async function tell(manager: Manager, sessionIds: readonly string[], requestId: string, event: NewEvent) {
  const log = sessionLogOf(manager);
  for (const sessionId of new Set(sessionIds)) await log.record(sessionId, requestId, event);
}

/** The log, without which no hand is passed: what nobody could read of later must not happen. */
export function sessionLogOf({ sessionLog }: Manager): SessionLog {
  if (sessionLog) return sessionLog;
  throw AppError.unavailable("NO_SESSION_STORE", "hands are passed only where MH_SESSION_STORE_ADDR is set");
}

/** The record of a hand that can be passed on, when it is this session's own. */
export async function livingHand(manager: Manager, handId: string, bySessionId: string): Promise<HandRecord> {
  const record = (await manager.store.byId(handId))?.record;
  if (!record || (bySessionId !== "" && record.sessionId !== bySessionId)) throw AppError.notFound("hand", handId);
  if (record.handId !== handId) {
    const words = `hand ${handId} was replaced by ${record.handId}, generation ${record.generation}`;
    const present = { current_hand_id: record.handId, generation: String(record.generation) };
    throw AppError.conflict("HAND_REPLACED", words, present);
  }
  if (record.state !== "ready") throw AppError.conflict("HAND_LOST", `hand ${handId} is ${record.state}`);
  return record;
}

/** Another workspace's session cannot be told from one that never was. */
export async function sameWorkspace(log: SessionLog, own: string, other: string): Promise<void> {
  if (own === other) return;
  const [mine, theirs] = await Promise.all([log.workspaceOf(own), log.workspaceOf(other)]);
  if (mine !== theirs) throw AppError.notFound("session", other);
}

function termsOr(terms: ReturnType<typeof firstTerms>): Terms {
  if ("rights" in terms) return terms;
  throw AppError.invalid(terms);
}
