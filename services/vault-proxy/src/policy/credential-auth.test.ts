import { describe, expect, it } from "vitest";
import { mergeAuth, type PublicAuth, parseNewAuth } from "./credential-auth.ts";
import { fieldChecks } from "./fields.ts";

const NOW = Date.UTC(2026, 0, 1);
const oauth = (refresh: object, more: object = {}) => ({
  type: "mcp_oauth",
  mcp_server_url: "https://m.example/mcp",
  access_token: "a",
  refresh: {
    client_id: "c",
    refresh_token: "r",
    token_endpoint: "https://m.example/token",
    token_endpoint_auth: { type: "none" },
    ...refresh,
  },
  ...more,
});
const parse = (json: unknown) => {
  const checks = fieldChecks();
  return { auth: parseNewAuth(checks, json, NOW), fields: checks.violations.map(({ field }) => field) };
};
const merge = (json: unknown, current: PublicAuth) => {
  const checks = fieldChecks();
  const { shown, changed } = mergeAuth(checks, json, current, NOW);
  return { shown, changed: Object.keys(changed), fields: checks.violations.map(({ field }) => field) };
};
const shownOf = (json: unknown): PublicAuth => {
  const { auth, fields } = parse(json);
  expect(fields).toEqual([]);
  if (!auth) throw new Error("not parsed");
  return auth.shown;
};

describe("a new auth", () => {
  it("takes secrets apart from what may be shown", () => {
    const { auth } = parse(
      oauth({ token_endpoint_auth: { type: "client_secret_basic", client_secret: "s" }, scope: "" }),
    );
    expect(Object.keys(auth?.secrets ?? {}).toSorted()).toEqual(["access_token", "client_secret", "refresh_token"]);
    expect(auth?.shown).toMatchObject({
      expires_at: null,
      refresh: { scope: null, resource: null, token_endpoint_auth: { type: "client_secret_basic" } },
    });
    expect(JSON.stringify(auth?.shown)).not.toMatch(/refresh_token|client_secret"/);
  });

  it("has one target per server, however its URL is written", () => {
    const target = (url: string) => parse({ type: "static_bearer", mcp_server_url: url, token: "t" }).auth?.target;
    expect(target("https://M.example:443/x")).toBe(target("https://m.example/x"));
    expect(target("https://m.example/y")).not.toBe(target("https://m.example/x"));
  });

  it("keeps only the places to inject that were named", () => {
    const base = {
      type: "environment_variable",
      secret_name: "A",
      secret_value: "v",
      networking: { type: "unrestricted" },
    };
    expect(shownOf(base)).toMatchObject({ injection_location: { header: true, body: true } });
    expect(shownOf({ ...base, injection_location: { body: true } })).toMatchObject({
      injection_location: { header: false, body: true },
    });
  });

  it("refuses a secret that has no place, and names of the prototype", () => {
    const withSecret = oauth({ token_endpoint_auth: { type: "none", client_secret: "s" } });
    expect(parse(withSecret).fields).toContain("auth.refresh.token_endpoint_auth.client_secret");
    expect(parse(JSON.parse('{"__proto__":{"type":"static_bearer"},"constructor":1}')).fields).toContain("auth.type");
  });
});

describe("a changed auth", () => {
  const withExpiry = shownOf(oauth({ scope: "read" }, { expires_at: "2030-01-01T00:00:00+02:00" }));

  it("keeps the expiry with a new access token, replaces it, and clears it by null", () => {
    expect(merge({ type: "mcp_oauth", access_token: "b" }, withExpiry)).toMatchObject({
      shown: { expires_at: "2029-12-31T22:00:00.000Z" },
      changed: ["access_token"],
      fields: [],
    });
    expect(merge({ type: "mcp_oauth", expires_at: null }, withExpiry).shown).toMatchObject({ expires_at: null });
    expect(merge({ type: "mcp_oauth", expires_at: "2025-01-01T00:00:00Z" }, withExpiry).fields).toEqual([
      "auth.expires_at",
    ]);
  });

  it("clears the scope by an empty text and keeps it when left out", () => {
    expect(merge({ type: "mcp_oauth", refresh: { scope: "" } }, withExpiry).shown).toMatchObject({
      refresh: { scope: null },
    });
    expect(merge({ type: "mcp_oauth", refresh: {} }, withExpiry).shown).toMatchObject({ refresh: { scope: "read" } });
  });

  it("does not add a refresh or a client secret that was not there", () => {
    const plain = shownOf({ type: "mcp_oauth", mcp_server_url: "https://m.example/", access_token: "a" });
    expect(merge({ type: "mcp_oauth", refresh: { refresh_token: "r" } }, plain).fields).toEqual(["auth.refresh"]);
    const secret = { token_endpoint_auth: { type: "client_secret_post", client_secret: "s" } };
    expect(merge({ type: "mcp_oauth", refresh: secret }, withExpiry).fields).toEqual([
      "auth.refresh.token_endpoint_auth",
    ]);
  });

  it("counts null as left out for secrets", () => {
    expect(merge({ type: "mcp_oauth", access_token: null }, withExpiry)).toMatchObject({ changed: [], fields: [] });
  });
});
