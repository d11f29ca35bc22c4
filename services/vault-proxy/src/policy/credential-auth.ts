/**
 * The `auth` of a credential, parsed into what may be shown and what may not. Pure; shapes and rules are those of the
 * public API. Values are never part of an error.
 */
import { Secret } from "@manyhands/kit";
import type { FieldChecks } from "./fields.ts";
import { type JsonReader, jsonReader, type TextRule } from "./json-fields.ts";

/** How a token endpoint is told who asks. */
export type TokenEndpointAuth = "none" | "client_secret_basic" | "client_secret_post";
/** The part of a refresh that may be shown. */
export type RefreshAuth = {
  readonly client_id: string;
  readonly token_endpoint: string;
  readonly token_endpoint_auth: { readonly type: TokenEndpointAuth };
  readonly resource: string | null;
  readonly scope: string | null;
};
/** Where an environment variable's value may go. */
export type AuthNetworking =
  | { readonly type: "unrestricted" }
  | { readonly type: "limited"; readonly allowed_hosts: readonly string[] };
/** The part of `auth` that may be shown, in the public shape. */
export type PublicAuth =
  | { readonly type: "static_bearer"; readonly mcp_server_url: string }
  | {
      readonly type: "mcp_oauth";
      readonly mcp_server_url: string;
      readonly expires_at: string | null;
      readonly refresh: RefreshAuth | null;
    }
  | {
      readonly type: "environment_variable";
      readonly secret_name: string;
      readonly networking: AuthNetworking;
      readonly injection_location: { readonly header: boolean; readonly body: boolean };
    };
/** Secrets by field name. */
export type SecretFields = Readonly<Record<string, Secret>>;
/** An auth taken apart. `target` is what only one active credential of a vault may be for. */
export type ParsedAuth = { readonly shown: PublicAuth; readonly secrets: SecretFields; readonly target: string };

const MAX_JSON_BYTES = 256 * 1024;
const MAX_SECRET = 32 * 1024;
const MAX_HOSTS = 16;
const TYPES = ["static_bearer", "mcp_oauth", "environment_variable"] as const;
const ENDPOINT_AUTHS = ["none", "client_secret_basic", "client_secret_post"] as const;

const LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?";
const HOST = new RegExp(`^(?:\\*\\.)?${LABEL}(?:\\.${LABEL})*$`);
const WILDCARD_WITH_TWO_LABELS = new RegExp(`^\\*\\.${LABEL}(?:\\.${LABEL})+$`);

const secretRule: TextRule = {
  max: MAX_SECRET,
  describe: `a text of 1 to ${MAX_SECRET} characters without line breaks`,
  fits: (text) => !/[\r\n\0]/.test(text),
};
const anySecretRule: TextRule = {
  max: MAX_SECRET,
  describe: `a text of 1 to ${MAX_SECRET} characters`,
  fits: (text) => !text.includes("\0"),
};
const urlRule: TextRule = {
  max: 2048,
  describe: "an http or https URL of at most 2048 characters without user, password or fragment",
  fits: isPlainUrl,
};
const nameRule: TextRule = {
  max: 255,
  describe: "a name of letters, digits and _ that does not start with a digit",
  fits: (text) => /^[A-Za-z_][A-Za-z0-9_]*$/.test(text),
};
const hostRule: TextRule = {
  max: 253,
  describe: "host names, IPv4 addresses or *.domain with at least two labels",
  fits: (text) => HOST.test(text) && (!text.startsWith("*") || WILDCARD_WITH_TWO_LABELS.test(text)),
};
const plainRule: TextRule = { max: 2048, describe: "a text of 1 to 2048 characters" };
const scopeRule: TextRule = { max: 4096, describe: "a text of at most 4096 characters" };

/** The JSON of an `auth`, or undefined with the reason noted. */
export function parseAuthJson(checks: FieldChecks, bytes: Uint8Array): unknown {
  if (bytes.byteLength === 0 || bytes.byteLength > MAX_JSON_BYTES) {
    checks.rule("auth", false, `is required: a JSON object of at most ${MAX_JSON_BYTES} bytes`);
    return undefined;
  }
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    // The parser's own message quotes the text, which holds secrets.
    checks.rule("auth", false, "must be JSON in UTF-8");
    return undefined;
  }
}

/** Parses the auth of a new credential; undefined when anything was noted. */
export function parseNewAuth(checks: FieldChecks, json: unknown, nowMs: number): ParsedAuth | undefined {
  const auth = jsonReader(checks, json, "auth");
  const type = auth.oneOf("type", TYPES);
  switch (type) {
    case undefined:
      return undefined;
    case "static_bearer": {
      auth.only("type", "mcp_server_url", "token");
      const mcp_server_url = auth.text("mcp_server_url", urlRule);
      const secrets = { token: new Secret(auth.text("token", secretRule)) };
      return { shown: { type, mcp_server_url }, secrets, target: targetOfUrl(mcp_server_url) };
    }
    case "mcp_oauth":
      return newOauth(checks, auth, nowMs);
    case "environment_variable": {
      auth.only("type", "secret_name", "secret_value", "networking", "injection_location");
      const secret_name = auth.text("secret_name", nameRule);
      const shown: PublicAuth = {
        type,
        secret_name,
        networking: networkingOf(auth.object("networking")),
        injection_location: auth.has("injection_location")
          ? locationOf(checks, auth.object("injection_location"), { header: false, body: false })
          : { header: true, body: true },
      };
      const secrets = { secret_value: new Secret(auth.text("secret_value", anySecretRule)) };
      return { shown, secrets, target: `environment_variable ${secret_name}` };
    }
  }
}

/** Merges an update into what is stored; omitted secrets stay. */
export function mergeAuth(
  checks: FieldChecks,
  json: unknown,
  current: PublicAuth,
  nowMs: number,
): { readonly shown: PublicAuth; readonly changed: SecretFields } {
  const auth = jsonReader(checks, json, "auth");
  const type = auth.oneOf("type", TYPES);
  checks.rule("auth.type", type === undefined || type === current.type, `cannot be changed from ${current.type}`);
  switch (current.type) {
    case "static_bearer": {
      auth.only("type", "token");
      return { shown: current, changed: changedSecrets(auth, secretRule, "token") };
    }
    case "mcp_oauth":
      return mergeOauth(checks, auth, current, nowMs);
    case "environment_variable": {
      auth.only("type", "secret_value", "networking", "injection_location");
      const shown: PublicAuth = {
        ...current,
        networking: auth.has("networking") ? networkingOf(auth.object("networking")) : current.networking,
        injection_location: auth.has("injection_location")
          ? locationOf(checks, auth.object("injection_location"), current.injection_location)
          : current.injection_location,
      };
      return { shown, changed: changedSecrets(auth, anySecretRule, "secret_value") };
    }
  }
}

function newOauth(checks: FieldChecks, auth: JsonReader, nowMs: number): ParsedAuth {
  auth.only("type", "mcp_server_url", "access_token", "expires_at", "refresh");
  const mcp_server_url = auth.text("mcp_server_url", urlRule);
  const secrets: Record<string, Secret> = { access_token: new Secret(auth.text("access_token", secretRule)) };
  let refresh: RefreshAuth | null = null;
  if (auth.has("refresh")) {
    const given = auth.object("refresh");
    given.only("client_id", "refresh_token", "token_endpoint", "token_endpoint_auth", "resource", "scope");
    const endpointAuth = given.object("token_endpoint_auth");
    endpointAuth.only("type", "client_secret");
    const type = endpointAuth.oneOf("type", ENDPOINT_AUTHS) ?? "none";
    secrets.refresh_token = new Secret(given.text("refresh_token", secretRule));
    if (type !== "none") {
      secrets.client_secret = new Secret(endpointAuth.text("client_secret", secretRule));
    } else {
      checks.rule(`${endpointAuth.path}.client_secret`, !endpointAuth.has("client_secret"), "has no place with none");
    }
    refresh = {
      client_id: given.text("client_id", plainRule),
      token_endpoint: given.text("token_endpoint", urlRule),
      token_endpoint_auth: { type },
      resource: given.optionalText("resource", plainRule) ?? null,
      scope: given.isEmpty("scope") ? null : (given.optionalText("scope", scopeRule) ?? null),
    };
  }
  const shown: PublicAuth = { type: "mcp_oauth", mcp_server_url, expires_at: expiryOf(auth, nowMs) ?? null, refresh };
  return { shown, secrets, target: targetOfUrl(mcp_server_url) };
}

function mergeOauth(
  checks: FieldChecks,
  auth: JsonReader,
  current: Extract<PublicAuth, { type: "mcp_oauth" }>,
  nowMs: number,
): { readonly shown: PublicAuth; readonly changed: SecretFields } {
  auth.only("type", "access_token", "expires_at", "refresh");
  let changed: SecretFields = changedSecrets(auth, secretRule, "access_token");
  const expires_at = auth.isNull("expires_at") ? null : (expiryOf(auth, nowMs) ?? current.expires_at);
  let { refresh } = current;
  if (auth.has("refresh")) {
    const given = auth.object("refresh");
    given.only("refresh_token", "scope", "token_endpoint_auth");
    checks.rule(given.path, refresh !== null, "was not given when the credential was made and cannot be added");
    changed = { ...changed, ...changedSecrets(given, secretRule, "refresh_token") };
    if (given.has("token_endpoint_auth") && refresh) {
      const endpointAuth = given.object("token_endpoint_auth");
      endpointAuth.only("type", "client_secret");
      const type = endpointAuth.oneOf("type", ENDPOINT_AUTHS);
      const kept = type === refresh.token_endpoint_auth.type && type !== "none";
      checks.rule(endpointAuth.path, kept, "must keep its type, and none has no secret to replace");
      changed = { ...changed, ...changedSecrets(endpointAuth, secretRule, "client_secret") };
    }
    if (refresh && given.has("scope")) {
      refresh = { ...refresh, scope: given.isEmpty("scope") ? null : given.text("scope", scopeRule) };
    }
  }
  return { shown: { ...current, expires_at, refresh }, changed };
}

function changedSecrets(auth: JsonReader, rule: TextRule, name: string): SecretFields {
  const value = auth.optionalText(name, rule);
  return value === undefined ? {} : { [name]: new Secret(value) };
}

function expiryOf(auth: JsonReader, nowMs: number): string | undefined {
  const text = auth.optionalText("expires_at", {
    max: 64,
    describe: "a time in the future, as RFC 3339",
    fits: (value) => /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d/.test(value) && Date.parse(value) > nowMs,
  });
  return text ? new Date(text).toISOString() : undefined;
}

function networkingOf(networking: JsonReader): AuthNetworking {
  const type = networking.oneOf("type", ["unrestricted", "limited"]);
  if (type !== "limited") {
    networking.only("type");
    return { type: "unrestricted" };
  }
  networking.only("type", "allowed_hosts");
  const hosts = networking.texts("allowed_hosts", MAX_HOSTS, hostRule);
  return { type, allowed_hosts: hosts.map((host) => host.toLowerCase()) };
}

function locationOf(checks: FieldChecks, given: JsonReader, base: { header: boolean; body: boolean }) {
  given.only("header", "body");
  const location = {
    header: given.optionalBoolean("header") ?? base.header,
    body: given.optionalBoolean("body") ?? base.body,
  };
  checks.rule(given.path, location.header || location.body, "must allow the header or the body");
  return location;
}

/** One credential per server, however its URL is written. */
export function targetOfUrl(url: string): string {
  return URL.canParse(url) ? `mcp ${new URL(url).href}` : "";
}

function isPlainUrl(text: string): boolean {
  if (!/^[\x21-\x7e]+$/.test(text) || !URL.canParse(text)) {
    return false;
  }
  const url = new URL(text);
  const http = url.protocol === "https:" || url.protocol === "http:";
  return http && url.username === "" && url.password === "" && url.hash === "" && url.hostname !== "";
}
