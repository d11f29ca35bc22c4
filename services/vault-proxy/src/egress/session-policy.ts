/** A session's network policy from its stored environment and agent, both in the public shape. Pure; total. */
import { type EgressPolicy, PACKAGE_MANAGER_HOSTS, parseEgressRule } from "./egress-policy.ts";

const NONE: EgressPolicy = { type: "none" };

/** What cannot be read, and environments without a network policy of their own, reach nothing. */
export function policyOfSession(
  environmentJson: Uint8Array | undefined,
  agentJson: Uint8Array | undefined,
): EgressPolicy {
  const networking = at(at(parse(environmentJson), "config"), "networking");
  switch (at(networking, "type")) {
    case "unrestricted":
      return { type: "unrestricted" };
    case "limited":
      return {
        type: "limited",
        rules: [
          ...texts(at(networking, "allowed_hosts")).filter((rule) => parseEgressRule(rule) !== undefined),
          ...(at(networking, "allow_package_managers") === true ? PACKAGE_MANAGER_HOSTS : []),
          ...(at(networking, "allow_mcp_servers") === true ? mcpHosts(parse(agentJson)) : []),
        ],
      };
    default:
      return NONE;
  }
}

function mcpHosts(agent: unknown): string[] {
  const servers = at(agent, "mcp_servers");
  return (Array.isArray(servers) ? servers : []).flatMap((server: unknown) => {
    const url = at(server, "url");
    if (typeof url !== "string" || !URL.canParse(url)) return [];
    const { hostname, port, protocol } = new URL(url);
    return [`${hostname}:${port === "" ? (protocol === "https:" ? 443 : 80) : port}`];
  });
}

function parse(bytes: Uint8Array | undefined): unknown {
  try {
    return bytes === undefined ? undefined : JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return undefined;
  }
}

function at(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? Reflect.get(value, name) : undefined;
}

function texts(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((one) => typeof one === "string") : [];
}
