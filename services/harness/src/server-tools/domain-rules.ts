/** Which hosts an agent's web tools may reach. Rules of the public API: a domain stands for its subdomains too. */
import { type JsonObject, listOf } from "@manyhands/core";

/** Why a URL may not be reached by this agent; undefined when it may. */
export function refusedUrl(url: URL, options: JsonObject): string | undefined {
  const allowed = textsOf(options.allowed_domains);
  const blocked = textsOf(options.blocked_domains);
  if (allowed.length > 0 && !allowed.some((rule) => matches(url, rule))) {
    return `${url.hostname} is not among the domains this agent may reach (${allowed.join(", ")})`;
  }
  if (blocked.some((rule) => matches(url, rule))) return `${url.hostname} is blocked for this agent`;
  return undefined;
}

/** `example.com` or `example.com/docs`; a path counts by whole segments. */
function matches(url: URL, rule: string): boolean {
  const slash = rule.indexOf("/");
  const host = (slash < 0 ? rule : rule.slice(0, slash)).toLowerCase().replace(/\.$/, "");
  const path = slash < 0 ? "" : rule.slice(slash).replace(/\/+$/, "");
  const name = url.hostname.toLowerCase().replace(/\.$/, "");
  const isHost = name === host || name.endsWith(`.${host}`);
  return isHost && (path === "" || url.pathname === path || url.pathname.startsWith(`${path}/`));
}

function textsOf(value: JsonObject[string] | undefined): string[] {
  return listOf(value).filter((one) => typeof one === "string");
}
