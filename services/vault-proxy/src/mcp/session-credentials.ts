/**
 * Which credential goes to which MCP server: the first active one for exactly that URL in the session's vaults, in their
 * order; none means that the server is spoken to without. Looked up for every use, so that a change counts at once.
 */
import type { Clock, Secret } from "@manyhands/kit";
import type { TokenRefresher } from "../oauth/refresh-tokens.ts";
import { targetOfUrl } from "../policy/credential-auth.ts";
import type { Binding } from "../store/binding-store.ts";
import type { CredentialRef, CredentialStore } from "../store/credential-store.ts";
import type { CredentialDocument } from "../store/documents.ts";
import { McpError } from "./mcp-error.ts";

/** A credential as it is put on a request. */
export type McpCredential = { readonly ref: CredentialRef; readonly version: string; readonly token: Secret };

/** Finds and renews credentials. */
export type SessionCredentials = {
  /** What to use now; McpError `authentication` when there is one that is known not to work. */
  current(binding: Binding, url: string): Promise<McpCredential | undefined>;
  /** After the server refused the one of this name: another try is worth it only when this answers true. */
  renew(binding: Binding, url: string, refused: string | undefined): Promise<boolean>;
};

/** An access token is renewed so long before it ends, in milliseconds. */
const EARLY_MS = 60_000;

type Deps = {
  readonly credentials: Pick<CredentialStore, "find" | "open">;
  readonly refresher: TokenRefresher;
  readonly clock: Pick<Clock, "nowMs">;
};

/** Credentials of sessions. */
export function sessionCredentials({ credentials, refresher, clock }: Deps): SessionCredentials {
  const find = async ({ workspace, vaultIds }: Binding, url: string) => {
    const target = targetOfUrl(url);
    for (const vault of vaultIds) {
      const document = await credentials.find(workspace, vault, target);
      if (document) return document;
    }
    return undefined;
  };
  const current = async (binding: Binding, url: string): Promise<McpCredential | undefined> => {
    const found = await find(binding, url);
    if (!found) return undefined;
    const ref = refOf(found);
    if (isDue(found, clock.nowMs())) await refresher.refresh(ref, found.version);
    const { document, fields } = await credentials.open(ref);
    if (document.needsReauth !== undefined && isOver(document, clock.nowMs())) {
      throw new McpError("authentication", document.needsReauth, { reached: false });
    }
    const token = fields.token ?? fields.access_token;
    return token && { ref, version: document.version, token };
  };
  return {
    current,
    async renew(binding, url, refused) {
      const found = await find(binding, url);
      if (!found || nameOf(found.id, found.version) !== refused) return found !== undefined;
      const { status } = await refresher.refresh(refOf(found), found.version);
      return status === "succeeded" || status === "moved";
    },
  };
}

/** Tells one version of one credential from all others. */
export function nameOf(credential: string, version: string): string {
  return `${credential} ${version}`;
}

function refOf({ workspace, vault, id }: CredentialDocument): CredentialRef {
  return { workspace, vault, credential: id };
}

function isDue(document: CredentialDocument, nowMs: number): boolean {
  return document.auth.type === "mcp_oauth" && document.auth.refresh !== null && endsBefore(document, nowMs + EARLY_MS);
}

/** Its access token has ended for sure. */
function isOver(document: CredentialDocument, nowMs: number): boolean {
  return endsBefore(document, nowMs);
}

function endsBefore({ auth }: CredentialDocument, atMs: number): boolean {
  return auth.type === "mcp_oauth" && auth.expires_at !== null && Date.parse(auth.expires_at) <= atMs;
}
