/**
 * Keeps the tokens of `mcp_oauth` credentials fresh.
 *
 * O1 one refresh at a time, in this process and over all replicas; whoever waited uses what the other got. O2 new tokens
 * are stored, only over the version they came from, before anybody uses them; a successor that the server left out means
 * that the old refresh token stays. O3 an answer that was lost is asked for once more; what is then refused, or still
 * unclear after `MAX_UNCLEAR` tries with growing pauses, says visibly that its owner must authorise anew. Never a loop.
 */
import { AppError, type Clock, type Logger, retry } from "@manyhands/kit";
import type { Dispatcher } from "undici";
import type { PublicAuth, SecretFields } from "../policy/credential-auth.ts";
import type { CredentialRef, CredentialStore } from "../store/credential-store.ts";
import type { CredentialDocument } from "../store/documents.ts";
import type { HeldLease, RefreshLeases } from "./refresh-lease.ts";
import { askForTokens, type HttpFacts, type TokenAnswer } from "./token-endpoint.ts";

/** How a refresh ended. `moved`: somebody else has stored newer secrets. */
export type RefreshEnd = {
  readonly status: "succeeded" | "moved" | "failed" | "connect_error" | "no_refresh_token";
  readonly http?: HttpFacts;
  /** For people. */
  readonly message: string;
};

/** What it needs. */
export type RefreshDeps = {
  readonly credentials: Pick<CredentialStore, "get" | "update" | "open">;
  readonly leases: RefreshLeases;
  /** Longest wait for a token endpoint; shorter than a lease. */
  readonly requestMs: number;
  readonly dispatcher: Dispatcher;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Told of every request to a token endpoint. */
  readonly onRefresh: (ref: CredentialRef, endpoint: URL, end: RefreshEnd) => void;
};

/** Refreshes tokens. */
export type TokenRefresher = {
  /** Replaces the tokens of this version; ends when newer ones are stored or cannot be had. */
  refresh(ref: CredentialRef, version: string): Promise<RefreshEnd>;
};

type Oauth = Extract<PublicAuth, { type: "mcp_oauth" }>;
const WAIT_MS = 30_000;
const POLL_MS = 50;
const MAX_UNCLEAR = 5;
const PAUSE_MS = { first: 1000, most: 300_000 } as const;
const STORE_ATTEMPTS = 12;

/** A refresher. */
export function tokenRefresher(deps: RefreshDeps): TokenRefresher {
  const running = new Map<string, Promise<RefreshEnd>>();
  return {
    refresh(ref, version) {
      const key = `${ref.credential} ${version}`;
      const current = running.get(key);
      if (current) return current;
      const mine = refreshOnce(deps, ref, version).finally(() => running.delete(key));
      running.set(key, mine);
      return mine;
    },
  };
}

async function refreshOnce(deps: RefreshDeps, ref: CredentialRef, version: string): Promise<RefreshEnd> {
  const { credentials, leases, clock } = deps;
  const giveUpMs = clock.nowMs() + WAIT_MS;
  while (clock.nowMs() < giveUpMs) {
    const known = judge(await credentials.get(ref), version);
    if (known) return known;
    const taken = await leases.take(ref, version);
    if (taken.type === "later") return { status: "failed", message: "the last refresh failed a moment ago" };
    if (taken.type === "held") {
      // Whoever held it before may have stored new tokens between the two reads.
      const document = await credentials.get(ref);
      const late = judge(document, version);
      if (late) await taken.lease.clear();
      return late ?? (await ask(deps, ref, document, taken.lease));
    }
    await clock.sleep(POLL_MS);
  }
  return { status: "failed", message: "another replica has been refreshing this credential for too long" };
}

/** What is known without asking. */
function judge(document: CredentialDocument, version: string): RefreshEnd | undefined {
  if (document.version !== version) return { status: "moved", message: "newer tokens are stored" };
  if (document.needsReauth !== undefined) return { status: "failed", message: document.needsReauth };
  if (document.auth.type !== "mcp_oauth" || !document.auth.refresh) {
    return { status: "no_refresh_token", message: "the credential has no refresh token" };
  }
  return undefined;
}

async function ask(
  deps: RefreshDeps,
  ref: CredentialRef,
  document: CredentialDocument,
  lease: HeldLease,
): Promise<RefreshEnd> {
  const { auth, version } = document;
  if (auth.type !== "mcp_oauth" || !auth.refresh) throw new TypeError("judged to have a refresh token");
  const { document: opened, fields } = await deps.credentials.open(ref);
  if (opened.version !== version) {
    await lease.clear();
    return { status: "moved", message: "newer tokens are stored" };
  }
  const answer = await askForTokens(deps.dispatcher, auth.refresh, fields, AbortSignal.timeout(deps.requestMs));
  const end = await settle(deps, ref, version, lease, answer);
  deps.onRefresh(ref, new URL(auth.refresh.token_endpoint), end);
  return end;
}

async function settle(
  deps: RefreshDeps,
  ref: CredentialRef,
  version: string,
  lease: HeldLease,
  answer: TokenAnswer,
): Promise<RefreshEnd> {
  const pauseMs = Math.min(PAUSE_MS.most, PAUSE_MS.first * 4 ** lease.attempts);
  switch (answer.type) {
    case "tokens": {
      const isStored = await store(deps, ref, version, answer);
      await lease.clear();
      const message = isStored ? "the tokens were refreshed" : "newer secrets were stored meanwhile; they stay";
      return { status: isStored ? "succeeded" : "moved", http: answer.http, message };
    }
    case "refused": {
      const message = "the refresh token was refused (invalid_grant): its owner must authorise anew";
      const isMarked = await markReauth(deps, ref, version, message);
      await lease.clear();
      return { status: isMarked ? "failed" : "moved", http: answer.http, message };
    }
    case "unclear": {
      if (lease.attempts + 1 >= MAX_UNCLEAR) {
        await markReauth(
          deps,
          ref,
          version,
          `${answer.error}, ${MAX_UNCLEAR} times: its owner may have to authorise anew`,
        );
      }
      await lease.fail(deps.clock.nowMs() + pauseMs, true);
      const status = answer.http === undefined ? "connect_error" : "failed";
      return { status, ...(answer.http ? { http: answer.http } : {}), message: answer.error };
    }
    case "notSent":
      await lease.fail(deps.clock.nowMs() + PAUSE_MS.first, false);
      return { status: "connect_error", message: answer.error };
    default: {
      const never: never = answer;
      return never;
    }
  }
}

/** O2. The successor exists only here until it is stored, so storing it is tried for long. */
function store(
  deps: RefreshDeps,
  ref: CredentialRef,
  version: string,
  answer: Extract<TokenAnswer, { type: "tokens" }>,
): Promise<boolean> {
  const { tokens, expiresIn } = answer;
  const expires_at = expiresIn === undefined ? null : new Date(deps.clock.nowMs() + expiresIn * 1000).toISOString();
  const change = (auth: Oauth) => ({ auth: { ...auth, expires_at }, changed: tokens });
  return retry(() => changeVersion(deps, ref, version, change), {
    attempts: STORE_ATTEMPTS,
    initialMs: 50,
    maxMs: 5000,
    when: () => true,
    onRetry: (error) =>
      deps.logger.warn({ err: error, credential: ref.credential }, "storing new tokens is tried again"),
  });
}

function markReauth(deps: RefreshDeps, ref: CredentialRef, version: string, needsReauth: string): Promise<boolean> {
  return changeVersion(deps, ref, version, (auth) => ({ auth, changed: {}, needsReauth }));
}

type Change = (auth: Oauth) => { auth: Oauth; changed: SecretFields; needsReauth?: string };

/** Changes the credential as long as it is still at this version; false when it has moved on or is gone. */
async function changeVersion(deps: RefreshDeps, ref: CredentialRef, version: string, change: Change): Promise<boolean> {
  try {
    await deps.credentials.update(ref, (current) => {
      if (current.version !== version || current.auth.type !== "mcp_oauth") throw new Moved();
      const { displayName, metadata } = current;
      return { displayName, metadata, ...change(current.auth) };
    });
    return true;
  } catch (error) {
    if (error instanceof Moved) return false;
    if (error instanceof AppError && (error.kind === "notFound" || error.reason === "CREDENTIAL_ARCHIVED"))
      return false;
    throw error;
  }
}

/** The credential is at another version. */
class Moved extends Error {}
