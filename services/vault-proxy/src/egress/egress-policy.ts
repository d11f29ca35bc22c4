/**
 * What a session's hands may reach. Pure: a policy and a target in, a verdict out. Addresses are judged elsewhere, and
 * always: no policy opens a private range.
 *
 * P1 no policy, or an empty list, reaches nothing. P2 a wildcard has at least two labels after its star and does not
 * match the bare domain. P3 an entry without a port means 80 and 443.
 */
import { isIP } from "node:net";
import { normalHost, type Target } from "./target.ts";

/** The network policy of a session's environment. */
export type EgressPolicy =
  | { readonly type: "none" }
  | { readonly type: "limited"; readonly rules: readonly string[] }
  | { readonly type: "unrestricted" };

/** Whether a target may be reached; `explicit` says that the policy names its port. */
export type EgressVerdict =
  | { readonly allowed: true; readonly explicit: boolean }
  | { readonly allowed: false; readonly rule: string };

type Rule = { readonly host: string; readonly wildcard: boolean; readonly port: number | undefined };

const WEB_PORTS: readonly number[] = [80, 443];
/** Mail and name service: nothing an agent's tools need, and the usual ways out for data and spam. */
const NEVER_PORTS: readonly number[] = [25, 53, 465, 587, 853];

/** Where the usual package managers fetch from (`allow_package_managers`). */
export const PACKAGE_MANAGER_HOSTS: readonly string[] = [
  "archive.ubuntu.com",
  "crates.io",
  "deb.debian.org",
  "files.pythonhosted.org",
  "index.crates.io",
  "index.rubygems.org",
  "ports.ubuntu.com",
  "proxy.golang.org",
  "pypi.org",
  "registry.npmjs.org",
  "registry.yarnpkg.com",
  "rubygems.org",
  "security.debian.org",
  "security.ubuntu.com",
  "static.crates.io",
  "sum.golang.org",
];

/** Judges one target. */
export function decideEgress(policy: EgressPolicy, target: Target): EgressVerdict {
  const name = target.host;
  switch (policy.type) {
    case "none":
      return { allowed: false, rule: `this session has no network: ${name} is refused` };
    case "unrestricted":
      return NEVER_PORTS.includes(target.port)
        ? { allowed: false, rule: `port ${target.port} is never open to a hand` }
        : { allowed: true, explicit: !WEB_PORTS.includes(target.port) };
    case "limited": {
      const rules = policy.rules.map(parseEgressRule).filter((rule) => rule !== undefined);
      const named = rules.filter((rule) => matchesHost(rule, target));
      const fitting = named.find((rule) =>
        rule.port === undefined ? WEB_PORTS.includes(target.port) : rule.port === target.port,
      );
      if (fitting) {
        return { allowed: true, explicit: fitting.port !== undefined };
      }
      return {
        allowed: false,
        rule:
          named.length > 0
            ? `port ${target.port} of ${name} is not in this session's allowed hosts`
            : `${name} is not in this session's allowed hosts`,
      };
    }
  }
}

/** An entry of `allowed_hosts`: `host`, `*.domain.tld`, an IP address, each with an optional `:port`; else undefined. */
export function parseEgressRule(text: string): Rule | undefined {
  const match = /^(\*\.)?(\[[^\]]+\]|[^:*]+)(?::(\d{1,5}))?$/.exec(text);
  if (!match) {
    return undefined;
  }
  const [, star, rawHost = "", rawPort] = match;
  const bare = rawHost.replace(/^\[|\]$/g, "");
  const host = isIP(bare) === 0 ? normalHost(bare) : bare.toLowerCase();
  const port = rawPort === undefined ? undefined : Number(rawPort);
  const wildcard = star !== undefined;
  if (
    host === undefined ||
    (wildcard && host.split(".").length < 2) ||
    (port !== undefined && (port < 1 || port > 65_535))
  ) {
    return undefined;
  }
  return { host, wildcard, port };
}

/** True when the host is named by one of the patterns (`host` or `*.domain.tld`), whatever its port. */
export function matchesAnyHost(patterns: readonly string[], target: Target): boolean {
  return patterns.some((pattern) => {
    const rule = parseEgressRule(pattern);
    return rule !== undefined && matchesHost(rule, target);
  });
}

function matchesHost(rule: Rule, { host, address }: Target): boolean {
  return rule.wildcard ? !address && host.endsWith(`.${rule.host}`) : host === rule.host;
}
