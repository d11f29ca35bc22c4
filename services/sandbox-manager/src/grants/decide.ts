/**
 * What a grant allows, as pure decisions.
 *
 * G1 A use is allowed only when every grant of the chain, from the one presented up to the one that the hand's own
 *    session gave, is there, lives and allows it.
 * G2 A grant made from another never has more rights, more tools or a later end.
 * G3 Ending a grant ends all that were made from it.
 * G4 Only the session that received a grant can use it; for every other one it does not exist.
 */
import type { FieldViolation } from "@manyhands/kit";
import { type Grant, type HandGrants, isRight, MAX_GRANTS, RIGHTS, type Right } from "./grant.ts";

const MAX_CHAIN = 8;
const MAX_TOOLS = 32;
const TOOL = /^[A-Za-z0-9_.-]{1,64}$/;
const MIN_TTL_MS = 1000;
const MAX_TTL_MS = 24 * 3_600_000;
const DEFAULT_TTL_MS = 3_600_000;
/** Tools that only look. */
const READING: ReadonlySet<string> = new Set(["read", "glob", "grep"]);

/** What is wanted; one of `rights` is enough; `tool` where one is called. */
export type Use = {
  readonly grantId: string;
  readonly sessionId: string;
  readonly rights: readonly Right[];
  readonly tool?: string;
};

/** The answer. `unknown` is told as NOT_FOUND. */
export type Verdict =
  | { readonly allowed: true; readonly grant: Grant; readonly untilMs: number }
  | { readonly allowed: false; readonly why: "unknown" | "revoked" | "expired" | "right" | "tool" };

/** The rights of which one is needed for a tool. */
export function rightsForTool(tool: string): readonly Right[] {
  return READING.has(tool) ? ["read", "execute"] : ["execute"];
}

/** Judges one use (G1, G4). */
export function decideUse(all: HandGrants, use: Use, nowMs: number): Verdict {
  const chain = chainOf(all, use.grantId);
  const [grant] = chain;
  if (!grant || grant.toSessionId !== use.sessionId) return { allowed: false, why: "unknown" };
  if (chain.some(({ revokedAtMs }) => revokedAtMs > 0)) return { allowed: false, why: "revoked" };
  const untilMs = Math.min(...chain.map(({ expiresAtMs }) => expiresAtMs));
  if (untilMs <= nowMs) return { allowed: false, why: "expired" };
  const { rights, tool } = use;
  if (!rights.some((right) => chain.every((link) => link.rights.includes(right))))
    return { allowed: false, why: "right" };
  if (tool !== undefined && !chain.every(({ tools }) => tools.length === 0 || tools.includes(tool)))
    return { allowed: false, why: "tool" };
  return { allowed: true, grant, untilMs };
}

/** What is asked of a new grant; `ttlMs` undefined: the default, or as long as the stronger one. */
export type Wish = {
  readonly rights: readonly string[];
  readonly tools: readonly string[];
  readonly ttlMs: number | undefined;
};

/** What a new grant holds. */
export type Terms = Pick<Grant, "rights" | "tools" | "expiresAtMs">;

/** The terms of a grant by the hand's own session, or what is wrong with them. */
export function firstTerms(wish: Wish, nowMs: number): Terms | readonly FieldViolation[] {
  const problems = wishProblems(wish);
  if (problems.length > 0) return problems;
  return termsOf(wish, wish.tools, nowMs + (wish.ttlMs ?? DEFAULT_TTL_MS));
}

/** The terms of a weaker grant, or what would make it a stronger one (G2). */
export function weakerTerms(
  stronger: Grant,
  untilMs: number,
  wish: Wish,
  nowMs: number,
): Terms | readonly FieldViolation[] {
  const problems = wishProblems(wish);
  const more = wish.rights.filter((right) => isRight(right) && !stronger.rights.includes(right));
  if (more.length > 0)
    problems.push({ field: "rights", description: `must be among those of the grant, ${more.join(", ")} is not` });
  const other = stronger.tools.length === 0 ? [] : wish.tools.filter((tool) => !stronger.tools.includes(tool));
  if (other.length > 0)
    problems.push({ field: "tools", description: `must be among those of the grant, ${other.join(", ")} is not` });
  const expiresAtMs = wish.ttlMs === undefined ? untilMs : nowMs + wish.ttlMs;
  if (expiresAtMs > untilMs) problems.push({ field: "ttl", description: "must not outlast the grant" });
  if (problems.length > 0) return problems;
  return termsOf(wish, wish.tools.length === 0 ? stronger.tools : wish.tools, expiresAtMs);
}

/** Ends a grant and all made from it (G3). `branch` is all of them, those that had ended before included. */
export function revoke(
  all: HandGrants,
  grantId: string,
  nowMs: number,
): { readonly all: HandGrants; readonly branch: readonly Grant[] } {
  const isOfBranch = ({ grantId: id }: Grant) => chainOf(all, id).some((link) => link.grantId === grantId);
  const branch = new Set(all.grants.filter(isOfBranch).map(({ grantId: id }) => id));
  const grants = all.grants.map((grant) =>
    branch.has(grant.grantId) && grant.revokedAtMs === 0 ? { ...grant, revokedAtMs: nowMs } : grant,
  );
  return { all: { ...all, grants }, branch: grants.filter((grant) => branch.has(grant.grantId)) };
}

/** With one more; undefined when there are too many living ones. Those that ended make room, the oldest first. */
export function withGrant(all: HandGrants, grant: Grant, nowMs: number): HandGrants | undefined {
  if (grant.parentId !== "" && chainOf(all, grant.parentId).length >= MAX_CHAIN) return undefined;
  const room = MAX_GRANTS - 1;
  const living = all.grants.filter((one) => isLiving(one, nowMs));
  if (living.length > room) return undefined;
  const ended = all.grants.filter((one) => !isLiving(one, nowMs));
  const kept = new Set([...living, ...(room > living.length ? ended.slice(living.length - room) : [])]);
  return { ...all, grants: [...all.grants.filter((one) => kept.has(one)), grant] };
}

/** True while a grant, by itself, has neither ended nor been revoked. */
export function isLiving({ revokedAtMs, expiresAtMs }: Grant, nowMs: number): boolean {
  return revokedAtMs === 0 && expiresAtMs > nowMs;
}

/** From a grant up to the one that the hand's own session gave; empty when a link is missing. */
export function chainOf({ grants }: HandGrants, grantId: string): readonly Grant[] {
  const byId = new Map(grants.map((grant) => [grant.grantId, grant]));
  const chain: Grant[] = [];
  for (let id = grantId; chain.length < MAX_CHAIN; ) {
    const grant = byId.get(id);
    if (!grant) return [];
    chain.push(grant);
    if (grant.parentId === "") return chain;
    id = grant.parentId;
  }
  return [];
}

function termsOf({ rights }: Wish, tools: readonly string[], expiresAtMs: number): Terms {
  return { rights: RIGHTS.filter((right) => rights.includes(right)), tools: [...new Set(tools)], expiresAtMs };
}

function wishProblems({ rights, tools, ttlMs }: Wish): FieldViolation[] {
  const problems: FieldViolation[] = [];
  if (rights.length === 0 || !rights.every(isRight))
    problems.push({ field: "rights", description: `must be one or more of ${RIGHTS.join(", ")}` });
  if (tools.length > MAX_TOOLS || !tools.every((tool) => TOOL.test(tool)))
    problems.push({ field: "tools", description: `must be at most ${MAX_TOOLS} names of tools` });
  if (ttlMs !== undefined && (ttlMs < MIN_TTL_MS || ttlMs > MAX_TTL_MS))
    problems.push({ field: "ttl", description: `must be ${MIN_TTL_MS} to ${MAX_TTL_MS} milliseconds` });
  return problems;
}
