/**
 * Tries an `mcp_oauth` credential the way a session would: one MCP handshake with its access token, and, where the server
 * refuses that, one refresh and one more handshake. Bodies of answers are never passed on: they may hold tokens.
 */
import type { Clock, Secret } from "@manyhands/kit";
import type { Dispatcher } from "undici";
import { mcpClient } from "../mcp/client.ts";
import { McpError } from "../mcp/mcp-error.ts";
import { nameOf } from "../mcp/session-credentials.ts";
import type { CredentialRef, CredentialStore } from "../store/credential-store.ts";
import type { RefreshEnd, TokenRefresher } from "./refresh-tokens.ts";
import type { HttpFacts } from "./token-endpoint.ts";

/** The public shape of an HTTP answer, without its body. */
type HttpResponse = {
  readonly status_code: number;
  readonly content_type: string;
  readonly body: string;
  readonly body_truncated: boolean;
};

/** What is answered, in the public shape. */
export type CredentialValidation = {
  readonly type: "vault_credential_validation";
  readonly credential_id: string;
  readonly vault_id: string;
  readonly status: "valid" | "invalid" | "unknown";
  readonly has_refresh_token: boolean;
  /** Absent when the handshake succeeded. */
  readonly mcp_probe: { readonly method: "initialize"; readonly http_response: HttpResponse | null } | null;
  readonly refresh: { readonly status: string; readonly http_response: HttpResponse | null } | null;
  readonly validated_at: string;
};

/** What it needs. */
export type ValidateDeps = {
  readonly credentials: Pick<CredentialStore, "open">;
  readonly refresher: TokenRefresher;
  readonly dispatcher: Dispatcher;
  readonly clock: Clock;
};

const PROBE_MS = 20_000;

/** Tries it; undefined for a credential of another type. NOT_FOUND when it is archived. */
export async function validateCredential(
  deps: ValidateDeps,
  ref: CredentialRef,
): Promise<CredentialValidation | undefined> {
  const { document, fields } = await deps.credentials.open(ref);
  const { auth } = document;
  if (auth.type !== "mcp_oauth") return undefined;
  let failure = await probe(deps, ref, auth.mcp_server_url, fields.access_token, document.version);
  let refresh: RefreshEnd | undefined;
  if (failure?.kind === "authentication") {
    refresh = await deps.refresher.refresh(ref, document.version);
    if (refresh.status === "succeeded" || refresh.status === "moved") {
      const again = await deps.credentials.open(ref);
      failure = await probe(deps, ref, auth.mcp_server_url, again.fields.access_token, again.document.version);
    }
  }
  return {
    type: "vault_credential_validation",
    credential_id: ref.credential,
    vault_id: ref.vault,
    status: failure === undefined ? "valid" : failure.kind === "authentication" ? "invalid" : "unknown",
    has_refresh_token: fields.refresh_token !== undefined,
    mcp_probe: failure
      ? { method: "initialize", http_response: answerOf({ status: failure.status, contentType: "" }) }
      : null,
    refresh: refresh === undefined ? null : { status: publicStatus(refresh), http_response: answerOf(refresh.http) },
    validated_at: new Date(deps.clock.nowMs()).toISOString(),
  };
}

/** The failure of one handshake; undefined when it succeeded. */
async function probe(
  { dispatcher, clock }: ValidateDeps,
  ref: CredentialRef,
  url: string,
  token: Secret | undefined,
  version: string,
): Promise<McpError | undefined> {
  if (!token) return new McpError("authentication", "there is no access token", { reached: false });
  const authorized = {
    header: `Bearer ${token.reveal()}`,
    name: nameOf(ref.credential, version),
    credential: { ref, version, token },
  };
  const options = { dispatcher, url: new URL(url), authorization: async () => authorized, nowMs: () => clock.nowMs() };
  const client = mcpClient(options);
  try {
    await client.initialize(AbortSignal.timeout(PROBE_MS));
    return undefined;
  } catch (error) {
    return error instanceof McpError ? error : new McpError("protocol", "the handshake failed", { reached: false });
  } finally {
    await client.close();
  }
}

function publicStatus({ status }: RefreshEnd): string {
  return status === "moved" ? "succeeded" : status;
}

function answerOf(http: HttpFacts | undefined): HttpResponse | null {
  if (!http || http.status === 0) return null;
  return { status_code: http.status, content_type: http.contentType, body: "", body_truncated: false };
}
