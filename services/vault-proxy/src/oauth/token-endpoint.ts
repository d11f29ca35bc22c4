/** One refresh at a token endpoint: the request as RFC 6749 section 6 has it, and what the answer means. */
import { Secret } from "@manyhands/kit";
import type { Dispatcher } from "undici";
import { asObject } from "../mcp/json-rpc.ts";
import { NotConnected } from "../net/vetted-agent.ts";
import type { RefreshAuth, SecretFields } from "../policy/credential-auth.ts";

/** What a token endpoint answered; nothing of it is a secret but `tokens`. */
export type TokenAnswer =
  | {
      readonly type: "tokens";
      readonly tokens: { readonly access_token: Secret; readonly refresh_token?: Secret };
      /** Seconds; absent when the server does not say. */
      readonly expiresIn: number | undefined;
      readonly http: HttpFacts;
    }
  /** The refresh token is no longer good: RFC 6749's `invalid_grant`. */
  | { readonly type: "refused"; readonly error: string; readonly http: HttpFacts }
  /** An answer that says nothing about the token: another error, no JSON, a server in trouble. */
  | { readonly type: "unclear"; readonly error: string; readonly http: HttpFacts | undefined }
  /** Nothing was sent. */
  | { readonly type: "notSent"; readonly error: string };

/** What may be told of an HTTP answer. */
export type HttpFacts = { readonly status: number; readonly contentType: string };

const MAX_ANSWER = 64 * 1024;
const MAX_TOKEN = 32 * 1024;

/** Asks for new tokens once. Never rejects. */
export async function askForTokens(
  dispatcher: Dispatcher,
  refresh: RefreshAuth,
  secrets: SecretFields,
  signal: AbortSignal,
): Promise<TokenAnswer> {
  const url = new URL(refresh.token_endpoint);
  const form = new URLSearchParams({
    grant_type: "refresh_token",
    refresh_token: secrets.refresh_token?.reveal() ?? "",
  });
  if (refresh.scope !== null) form.set("scope", refresh.scope);
  if (refresh.resource !== null) form.set("resource", refresh.resource);
  const headers: Record<string, string> = {
    accept: "application/json",
    "content-type": "application/x-www-form-urlencoded",
  };
  const clientSecret = secrets.client_secret?.reveal() ?? "";
  if (refresh.token_endpoint_auth.type === "client_secret_basic") {
    const pair = [refresh.client_id, clientSecret].map(formEncode).join(":");
    headers.authorization = `Basic ${Buffer.from(pair).toString("base64")}`;
  } else {
    form.set("client_id", refresh.client_id);
    if (refresh.token_endpoint_auth.type === "client_secret_post") form.set("client_secret", clientSecret);
  }
  try {
    const answer = await dispatcher.request({
      origin: url.origin,
      path: `${url.pathname}${url.search}`,
      method: "POST",
      headers,
      body: form.toString(),
      signal,
    });
    const contentType = String(answer.headers["content-type"] ?? "").slice(0, 100);
    return judge({ status: answer.statusCode, contentType }, await textOf(answer.body));
  } catch (error) {
    if (error instanceof NotConnected) return { type: "notSent", error: error.message };
    // The connection layer's own message may quote what was sent.
    return { type: "unclear", error: "the answer of the token endpoint was lost", http: undefined };
  }
}

function judge(http: HttpFacts, text: string): TokenAnswer {
  const json = parse(text);
  const { access_token, refresh_token, expires_in, error } = json ?? {};
  if (http.status >= 200 && http.status < 300 && isToken(access_token)) {
    const successor = isToken(refresh_token) ? { refresh_token: new Secret(refresh_token) } : {};
    const seconds = Number(expires_in);
    const expiresIn = Number.isFinite(seconds) && seconds > 0 ? Math.min(seconds, 31_536_000) : undefined;
    return { type: "tokens", tokens: { access_token: new Secret(access_token), ...successor }, expiresIn, http };
  }
  const code = typeof error === "string" && /^[a-z_]{1,64}$/.test(error) ? error : "no OAuth error";
  if (code === "invalid_grant") return { type: "refused", error: code, http };
  return { type: "unclear", error: `the token endpoint answered ${http.status} (${code})`, http };
}

function isToken(value: unknown): value is string {
  return typeof value === "string" && value.length <= MAX_TOKEN && /^[\x21-\x7e]+$/.test(value);
}

function parse(text: string) {
  try {
    return asObject(JSON.parse(text));
  } catch {
    return undefined;
  }
}

async function textOf(body: Dispatcher.ResponseData["body"]): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > MAX_ANSWER) throw new Error("the answer is too long");
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

/** RFC 6749 2.3.1: id and secret are form-encoded before they are joined. */
function formEncode(text: string): string {
  return new URLSearchParams({ v: text }).toString().slice(2);
}
