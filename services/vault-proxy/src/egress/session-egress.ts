/**
 * What the egress proxy must know of a session: its network policy and its credentials for a host. The policy is read
 * from the session's own stored environment, so nobody who talks to the proxy has a say in it.
 */
import { createHmac } from "node:crypto";
import { type Clock, Secret, toAppError } from "@manyhands/kit";
import type { PublicAuth } from "../policy/credential-auth.ts";
import { type BindingStore, revoked } from "../store/binding-store.ts";
import type { CredentialStore } from "../store/credential-store.ts";
import type { DerivedToken, DerivedTokenStore } from "../store/derived-token-store.ts";
import type { SessionDirectory } from "../tokens/session-directory.ts";
import type { SessionClaims } from "../tokens/session-tokens.ts";
import { type EgressPolicy, matchesAnyHost } from "./egress-policy.ts";
import { policyOfSession } from "./session-policy.ts";
import { createSwap, type KeepToken, type Swap, type SwapCredential } from "./swap.ts";
import type { Target } from "./target.ts";

/** An environment variable of a session's hands: its name and what it holds there, which is no secret. */
export type PlaceholderVariable = { readonly name: string; readonly placeholder: string };

/** The swap of the next request; undefined when nothing is left to swap. */
export type SwapSource = () => Promise<Swap | undefined>;

/** Answers for sessions. All of it may reject when session-store or the secrets' store does not answer. */
export type SessionEgress = {
  policyOf(session: string): Promise<EgressPolicy>;
  /** Where a session has credentials for a target: makes the swap of one request. Asked again for each. */
  swapFor(claims: Pick<SessionClaims, "session" | "workspace">, target: Target): Promise<SwapSource | undefined>;
  variablesOf(session: string, workspace: string): Promise<readonly PlaceholderVariable[]>;
};

/** What it is built from. */
export type SessionEgressDeps = {
  readonly sessions: Pick<SessionDirectory, "configOf">;
  readonly bindings: Pick<BindingStore, "standing">;
  readonly credentials: Pick<CredentialStore, "list" | "get" | "reveal">;
  readonly derivedTokens: Pick<DerivedTokenStore, "list" | "keep" | "purge">;
  /** Makes placeholders that only this installation can make. */
  readonly placeholderKey: Secret;
  readonly clock: Pick<Clock, "nowMs">;
};

type VariableAuth = Extract<PublicAuth, { type: "environment_variable" }>;
type Variable = {
  readonly id: string;
  readonly vault: string;
  readonly auth: VariableAuth;
  readonly placeholder: string;
};
type Remembered<T> = { readonly atMs: number; readonly value: Promise<T> };

/** How old an answer may be: a changed credential is in use after this long. */
const REMEMBER_MS = 2000;
const MAX_REMEMBERED = 2000;

/** Reads policies and credentials, remembering each for a moment. */
export function sessionEgress(deps: SessionEgressDeps): SessionEgress {
  const policies = rememberer<EgressPolicy>(deps.clock);
  const variables = rememberer<readonly Variable[]>(deps.clock);
  const secrets = rememberer<readonly SwapCredential[]>(deps.clock);

  const variablesOf = (session: string, workspace: string) =>
    variables(session, async () => {
      const standing = await deps.bindings.standing(session);
      if (standing.state !== "bound" || standing.binding.workspace !== workspace) return [];
      const found = new Map<string, Variable>();
      for (const vault of standing.binding.vaultIds) {
        for (const one of await readVault(deps, session, workspace, vault)) {
          // The first vault that has the name wins, as for every credential of a session.
          if (!found.has(one.auth.secret_name)) found.set(one.auth.secret_name, one);
        }
      }
      return [...found.values()];
    });

  const credentialsFor = (session: string, workspace: string, target: Target) =>
    secrets(JSON.stringify([session, target.host, target.port]), async () => {
      const usable = (await variablesOf(session, workspace)).filter(({ auth }) => mayGoTo(auth, target));
      const credentials = await Promise.all(
        usable.map(async ({ id, vault, auth, placeholder }): Promise<SwapCredential[]> => {
          const { secret_value } = await deps.credentials.reveal({ workspace, vault, credential: id });
          const { header, body } = auth.injection_location;
          return secret_value ? [{ id, placeholder, value: secret_value, header, body }] : [];
        }),
      );
      return credentials.flat();
    });

  return {
    policyOf: (session) =>
      policies(session, async () => {
        const config = await deps.sessions.configOf(session);
        return policyOfSession(config?.environmentJson, config?.agentJson);
      }),
    async swapFor({ session, workspace }, target) {
      const credentials = () => credentialsFor(session, workspace, target);
      if ((await credentials()).length === 0) return undefined;
      const keep = keeper(deps, session, workspace);
      return async () => {
        const usable = await credentials();
        const ids = new Set(usable.map(({ id }) => id));
        // A token may be a moment old, or another replica's, so these are read each time.
        const derived = await deps.derivedTokens.list(session, workspace);
        const here = derived.filter((token) => token.credentials.every((id) => ids.has(id)));
        return createSwap([...usable, ...here.map(asCredential)], keep);
      };
    },
    async variablesOf(session, workspace) {
      const all = await variablesOf(session, workspace);
      return all.map(({ auth, placeholder }) => ({ name: auth.secret_name, placeholder }));
    },
  };
}

async function readVault(
  deps: SessionEgressDeps,
  session: string,
  workspace: string,
  vault: string,
): Promise<Variable[]> {
  try {
    const ids = await deps.credentials.list(workspace, vault, false);
    const documents = await Promise.all(ids.map((id) => deps.credentials.get({ workspace, vault, credential: id })));
    return documents.flatMap(({ id, auth }) =>
      auth.type === "environment_variable" ? [{ id, vault, auth, placeholder: placeholderOf(deps, session, id) }] : [],
    );
  } catch (error) {
    // A vault that was deleted since has nothing to give.
    if (toAppError(error).kind === "notFound") return [];
    throw error;
  }
}

/** The same on every replica, different for every session, and nothing can be learned from it. */
function placeholderOf({ placeholderKey }: SessionEgressDeps, session: string, credential: string): string {
  const digest = createHmac("sha256", placeholderKey.reveal()).update(`egress placeholder\0${session}\0${credential}`);
  return `mhph_${digest.digest("base64url").slice(0, 32)}`;
}

/** Keeps the tokens of one session's exchanges. */
function keeper(deps: SessionEgressDeps, session: string, workspace: string): KeepToken {
  return async (token, madeFrom) => {
    const digest = createHmac("sha256", deps.placeholderKey.reveal()).update(`derived token\0${session}\0${token}`);
    const placeholder = `mhdt_${digest.digest("base64url").slice(0, 32)}`;
    const kept = { placeholder, value: new Secret(token), credentials: madeFrom };
    await deps.derivedTokens.keep(session, workspace, kept);
    // The session may have ended meanwhile; its tokens were purged before this one came.
    if ((await deps.bindings.standing(session)).state !== "bound") {
      await deps.derivedTokens.purge(session);
      throw revoked(session);
    }
    return asCredential(kept);
  };
}

/** Wherever a credential may go, its tokens may go in a header or in the body: how, the API that made them says. */
function asCredential({ placeholder, value, credentials }: DerivedToken): SwapCredential {
  return { id: placeholder, placeholder, value, header: true, body: true, madeFrom: credentials };
}

function mayGoTo({ networking }: VariableAuth, target: Target): boolean {
  return networking.type === "unrestricted" || matchesAnyHost(networking.allowed_hosts, target);
}

/** One running or recent answer per key; failures are not remembered. */
function rememberer<T>(clock: Pick<Clock, "nowMs">): (key: string, read: () => Promise<T>) => Promise<T> {
  const known = new Map<string, Remembered<T>>();
  return (key, read) => {
    const nowMs = clock.nowMs();
    const remembered = known.get(key);
    if (remembered && nowMs - remembered.atMs < REMEMBER_MS) return remembered.value;
    const value = read();
    known.delete(key);
    known.set(key, { atMs: nowMs, value });
    value.catch(() => known.delete(key));
    const oldest = known.keys().next();
    if (known.size > MAX_REMEMBERED && !oldest.done) known.delete(oldest.value);
    return value;
  };
}
