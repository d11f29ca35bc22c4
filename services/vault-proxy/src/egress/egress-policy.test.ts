import { describe, expect, it } from "vitest";
import { isPublicAddress } from "./addresses.ts";
import { decideEgress, type EgressPolicy, parseEgressRule } from "./egress-policy.ts";
import { policyOfSession } from "./session-policy.ts";
import { parseAbsoluteUrl, parseAuthority } from "./target.ts";

const allows = (policy: EgressPolicy, authority: string): boolean => {
  const target = parseAuthority(authority);
  return target.ok && decideEgress(policy, target.value).allowed;
};
const limited = (...rules: string[]): EgressPolicy => ({ type: "limited", rules });

describe("where a hand wants to go", () => {
  it.each([
    ["Example.COM:443", "example.com"],
    ["example.com.:443", "example.com"],
    ["xn--bcher-kva.example:443", "xn--bcher-kva.example"],
    ["93.184.216.34:80", "93.184.216.34"],
    ["[2606:4700::1111]:443", "2606:4700::1111"],
  ])("reads %s", (text, host) => {
    expect(parseAuthority(text)).toMatchObject({ ok: true, value: { host } });
  });

  it.each([
    "127.1:80",
    "0x7f000001:80",
    "2130706433:80",
    "0177.0.0.1:80",
    "1.2.3.0x10:80",
    "example.com",
    "example.com:0",
    "example.com:65536",
    "example.com:443:443",
    ":443",
    "evil.com\0.allowed.com:443",
    "evil.com%00.allowed.com:443",
    "user@allowed.com:443",
    "allowed.com\\@evil.com:443",
    "allowed.com#.evil.com:443",
    "allowed.com;evil.com:443",
    "al lowed.com:443",
    "al\tlowed.com:443",
    "bücher.example:443",
    "a..b:443",
    ".a.b:443",
    "-a.b:443",
    `${"a".repeat(64)}.b:443`,
    `${"a.".repeat(127)}abc:443`,
    "[::1%lo]:80",
    "[::1]",
    "[::ffff:1.2.3.4]x:80",
  ])("refuses to read %j", (text) => {
    expect(parseAuthority(text).ok).toBe(false);
  });

  it("reads plain requests by their whole URL only", () => {
    expect(parseAbsoluteUrl("http://Host.example/a?b=c")).toMatchObject({
      value: { target: { host: "host.example", port: 80 }, path: "/a?b=c" },
    });
    expect(parseAbsoluteUrl("http://host.example:8080")).toMatchObject({
      value: { target: { port: 8080 }, path: "/" },
    });
    expect(parseAbsoluteUrl("http://host.example?x=1")).toMatchObject({ value: { path: "/?x=1" } });
    for (const bad of [
      "https://host.example/",
      "/path",
      "http://u:p@host.example/",
      "http://host.example/#f",
      "ftp://x/",
    ]) {
      expect(parseAbsoluteUrl(bad).ok, bad).toBe(false);
    }
  });
});

describe("network policies", () => {
  it("reach nothing when there is none or the list is empty", () => {
    expect(allows({ type: "none" }, "example.com:443")).toBe(false);
    expect(allows(limited(), "example.com:443")).toBe(false);
  });

  it("match hosts exactly, wildcards below their domain only", () => {
    const policy = limited("api.example.com", "*.cdn.example.net");
    expect(allows(policy, "api.example.com:443")).toBe(true);
    expect(allows(policy, "API.example.com.:443")).toBe(true);
    expect(allows(policy, "a.b.cdn.example.net:80")).toBe(true);
    for (const other of [
      "cdn.example.net:443",
      "evilcdn.example.net:443",
      "example.com:443",
      "api.example.com.evil.com:443",
      "xapi.example.com:443",
    ]) {
      expect(allows(policy, other), other).toBe(false);
    }
  });

  it("mean 80 and 443 unless they name a port", () => {
    expect(allows(limited("a.example"), "a.example:8443")).toBe(false);
    expect(allows(limited("a.example:8443"), "a.example:8443")).toBe(true);
    expect(allows(limited("a.example:8443"), "a.example:443")).toBe(false);
  });

  it.each(["*", "*.com", "com*", "*.", "**.a.b", "a.*.b", "*.*.b", "http://a.b", "a.b/c", "a.b:0", "127.1", ""])(
    "have no meaning for the entry %j",
    (rule) => {
      expect(parseEgressRule(rule)).toBeUndefined();
      expect(allows(limited(rule), "www.com:443")).toBe(false);
    },
  );

  it("open no port of mail and name service, even when unrestricted", () => {
    for (const port of [25, 53, 465, 587, 853]) {
      expect(allows({ type: "unrestricted" }, `a.example:${port}`), String(port)).toBe(false);
    }
    expect(allows({ type: "unrestricted" }, "a.example:443")).toBe(true);
  });

  it("come from the session's stored environment, and nothing readable means nothing reachable", () => {
    const bytes = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
    const environment = (networking: unknown) => bytes({ config: { type: "cloud", networking } });
    expect(policyOfSession(environment({ type: "unrestricted" }), undefined)).toEqual({ type: "unrestricted" });
    const agent = bytes({ mcp_servers: [{ url: "https://mcp.example/sse" }, { url: "http://other.example:81/" }, {}] });
    const rich = environment({ type: "limited", allowed_hosts: ["a.example", "*"], allow_mcp_servers: true });
    expect(policyOfSession(rich, agent)).toEqual(limited("a.example", "mcp.example:443", "other.example:81"));
    const packages = policyOfSession(environment({ type: "limited", allow_package_managers: true }), undefined);
    expect(allows(packages, "registry.npmjs.org:443")).toBe(true);
    expect(allows(packages, "example.com:443")).toBe(false);
    for (const broken of [undefined, bytes({}), bytes({ config: { type: "self_hosted" } }), Buffer.from("{")]) {
      expect(policyOfSession(broken, undefined)).toEqual({ type: "none" });
    }
  });
});

describe("the public internet", () => {
  it.each(["1.1.1.1", "93.184.216.34", "172.15.255.255", "172.32.0.1", "2606:4700::1111"])("has %s", (address) => {
    expect(isPublicAddress(address)).toBe(true);
  });

  it.each([
    "0.0.0.0",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:93.184.216.34",
    "64:ff9b::7f00:1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "ff02::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "not an address",
  ])("has not %s", (address) => {
    expect(isPublicAddress(address)).toBe(false);
  });
});
