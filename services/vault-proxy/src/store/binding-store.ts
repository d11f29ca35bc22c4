/**
 * What each session may reach: one document per session, either a binding or a tombstone. A tombstone is final and
 * holds no secret.
 */
import { AppError, type Secret } from "@manyhands/kit";
import { type Envelope, type KeyEncryptionKey, open, type SealContext, seal } from "../crypto/envelope.ts";
import { parseRepositoryUrl, type RepositoryUrl, repositoryKey, sameRepository } from "../policy/repository-url.ts";
import { compareAndSwap } from "./compare-and-swap.ts";
import { decodeJson } from "./json.ts";
import type { Kv } from "./kv.ts";

/** A repository to bind; without a token the one stored for it before is kept. */
export type RepositoryToBind = { readonly url: string; readonly token?: Secret; readonly allowPush: boolean };

/** An MCP server that a session may reach, by its name in the agent's configuration. */
export type BoundMcpServer = { readonly name: string; readonly url: string };

/** What to bind. Inputs are checked by the route. */
export type BindingToStore = {
  readonly workspace: string;
  readonly vaultIds: readonly string[];
  readonly repositories: readonly RepositoryToBind[];
  readonly mcpServers: readonly BoundMcpServer[];
};

/** A binding, without any secret. */
export type Binding = {
  readonly workspace: string;
  readonly vaultIds: readonly string[];
  readonly mcpServers: readonly BoundMcpServer[];
};

/** A session's standing: never bound, bound, or ended. */
export type SessionStanding =
  | { readonly state: "unknown" }
  | { readonly state: "bound"; readonly binding: Binding }
  | { readonly state: "revoked" };

/** A bound repository, with its token opened. */
export type BoundRepository = {
  readonly url: RepositoryUrl;
  readonly allowPush: boolean;
  readonly token: Secret | undefined;
};

/** Bindings and tombstones by session. */
export type BindingStore = {
  bind(session: string, binding: BindingToStore): Promise<void>;
  standing(session: string): Promise<SessionStanding>;
  /** The session's binding of this repository, or undefined; PERMISSION_DENIED when the session is revoked. */
  repository(session: string, workspace: string, url: RepositoryUrl): Promise<BoundRepository | undefined>;
  /** Purges the session's secrets for good. Twice is fine; an unknown session gets a tombstone too. */
  revoke(session: string, nowMs: number): Promise<void>;
};

type StoredToken = { readonly version: string; readonly envelope: Envelope };
type StoredRepository = { readonly url: string; readonly allow_push: boolean; readonly token?: StoredToken };
/** Text stored for one session. */
export type SessionDocument =
  | {
      readonly state: "bound";
      readonly workspace: string;
      readonly version: number;
      readonly vault_ids: readonly string[];
      readonly repositories: readonly StoredRepository[];
      /** Absent in bindings that were stored before servers had names. */
      readonly mcp_servers?: readonly BoundMcpServer[];
    }
  | { readonly state: "revoked"; readonly revoked_at_ms: number };

/** Bindings in a bucket. */
export function bindingStore(sessions: Kv, kek: KeyEncryptionKey): BindingStore {
  const read = async (session: string) => {
    const entry = await sessions.get(session);
    return entry && decodeJson<SessionDocument>(entry.value);
  };
  return {
    async bind(session, binding) {
      await compareAndSwap<SessionDocument>(sessions, session, (current) => {
        if (current?.state === "revoked") {
          throw revoked(session);
        }
        if (current && current.workspace !== binding.workspace) {
          throw AppError.notFound("session", session);
        }
        const version = (current?.version ?? 0) + 1;
        const sealVersion = String(version);
        return {
          state: "bound",
          workspace: binding.workspace,
          version,
          vault_ids: binding.vaultIds,
          repositories: binding.repositories.map((one) => {
            const token = one.token
              ? {
                  version: sealVersion,
                  envelope: seal(kek, sealContext(binding.workspace, session, sealVersion, one.url), one.token),
                }
              : current?.repositories.find((old) => sameUrl(old.url, one.url))?.token;
            return { url: one.url, allow_push: one.allowPush, ...(token ? { token } : {}) };
          }),
          mcp_servers: binding.mcpServers,
        };
      });
    },
    async standing(session) {
      const document = await read(session);
      if (!document) {
        return { state: "unknown" };
      }
      if (document.state === "revoked") {
        return { state: "revoked" };
      }
      const { workspace, vault_ids: vaultIds, mcp_servers: mcpServers = [] } = document;
      return { state: "bound", binding: { workspace, vaultIds, mcpServers } };
    },
    async repository(session, workspace, url) {
      const document = await read(session);
      if (document?.state === "revoked") {
        throw revoked(session);
      }
      if (document?.workspace !== workspace) {
        return undefined;
      }
      for (const one of document.repositories) {
        const parsed = parseRepositoryUrl(one.url);
        if (parsed.ok && sameRepository(parsed.value, url)) {
          const context = one.token && sealContext(workspace, session, one.token.version, one.url);
          const token = one.token && context ? open(kek, context, one.token.envelope) : undefined;
          return { url: parsed.value, allowPush: one.allow_push, token };
        }
      }
      return undefined;
    },
    async revoke(session, nowMs) {
      await compareAndSwap<SessionDocument>(sessions, session, (current) =>
        current?.state === "revoked" ? current : { state: "revoked", revoked_at_ms: nowMs },
      );
    },
  };
}

/** The error every use of a revoked session gets. */
export function revoked(session: string): AppError {
  return AppError.denied("SESSION_REVOKED", `the rights of session ${session} have been revoked`);
}

/** A session's document with its repositories' tokens sealed anew. */
export function resealTokens(session: string, document: SessionDocument, reseal: Reseal): SessionDocument {
  if (document.state === "revoked") {
    return document;
  }
  const repositories = document.repositories.map((one) => {
    if (!one.token) {
      return one;
    }
    const { version, envelope } = one.token;
    const context = sealContext(document.workspace, session, version, one.url);
    return { ...one, token: { version, envelope: reseal(context, envelope) } };
  });
  return { ...document, repositories };
}

/** Seals one value anew for the same place. */
export type Reseal = (context: SealContext, envelope: Envelope) => Envelope;

function sealContext(workspace: string, session: string, version: string, url: string) {
  const parsed = parseRepositoryUrl(url);
  const field = parsed.ok ? repositoryKey(parsed.value) : url;
  return { workspace, vault: "session", credential: session, version, field };
}

function sameUrl(a: string, b: string): boolean {
  const left = parseRepositoryUrl(a);
  const right = parseRepositoryUrl(b);
  return left.ok && right.ok && sameRepository(left.value, right.value);
}
