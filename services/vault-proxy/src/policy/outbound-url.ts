/**
 * Which URLs this service itself may be sent to by what users store: MCP servers and token endpoints. Pure; names are
 * judged again when they are dialled, because what they resolve to can change.
 */
import { isPublicAddress } from "../egress/addresses.ts";
import { parseTarget, type Target } from "../egress/target.ts";

/** Why a URL cannot be used, as the end of "must be …"; undefined when it can. */
export type UrlJudge = (url: string) => string | undefined;

const MAX_URL = 2048;
const shape = `must be an http or https URL of at most ${MAX_URL} characters without user, password or fragment`;

/** A judge. `mayBePrivate` answers for addresses an operator opened; plain http is for those alone. */
export function outboundUrlJudge(mayBePrivate: (address: string) => boolean): UrlJudge {
  return (text) => {
    const url = plainUrl(text);
    if (!url) return shape;
    const target = targetOf(url);
    if (!target) return "must name a host by its name or its address in the usual form";
    const isLocalName = target.host === "localhost" || target.host.endsWith(".localhost");
    const address = isLocalName ? "127.0.0.1" : target.address ? target.host : undefined;
    const isOpened = address !== undefined && mayBePrivate(address);
    if (address !== undefined && !isOpened && !isPublicAddress(address)) {
      return "must not lead to a private address; an operator can open ranges with MH_MCP_PRIVATE_RANGES";
    }
    // A name may lead into an opened range; that is known when it is dialled.
    return url.protocol === "http:" && address !== undefined && !isOpened ? "must be https" : undefined;
  };
}

/** The place a URL leads to, or undefined when some other parser could read its host differently. */
export function targetOf(url: URL): Target | undefined {
  const port = url.port === "" ? (url.protocol === "https:" ? 443 : 80) : Number(url.port);
  const parsed = parseTarget(url.hostname, port);
  return parsed.ok ? parsed.value : undefined;
}

function plainUrl(text: string): URL | undefined {
  if (text.length > MAX_URL || !/^[\x21-\x7e]+$/.test(text) || !URL.canParse(text)) return undefined;
  const url = new URL(text);
  const isPlain = url.username === "" && url.password === "" && url.hash === "" && url.hostname !== "";
  return isPlain && (url.protocol === "https:" || url.protocol === "http:") ? url : undefined;
}
