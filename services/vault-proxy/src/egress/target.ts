/**
 * One parser for where a hand wants to go. What it answers is the only thing that is judged, resolved and dialled; the
 * client's own text is used nowhere after it.
 *
 * T1 host names are letters, digits, hyphens and dots only, lower case, without a trailing dot. T2 what some other
 * parser could read as an address (`127.1`, `0x7f000001`, `0177.0.0.1`, `2130706433`) is no host name. T3 the port is
 * always explicit.
 */
import { isIP } from "node:net";
import type { Parsed } from "../policy/repository-url.ts";

/** A place to connect to. `address` is true when `host` is an IP address (IPv6 without brackets). */
export type Target = { readonly host: string; readonly port: number; readonly address: boolean };

const MAX_HOST = 253;
const LABEL = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
/** The last label of what WHATWG's URL standard calls a host that ends in a number. */
const NUMERIC_END = /^(?:\d+|0x[0-9a-f]*)$/;

const no = (rule: string): { readonly ok: false; readonly rule: string } => ({ ok: false, rule });

/** Parses `host:port`, the form of CONNECT (RFC 9110 9.3.6). */
export function parseAuthority(text: string): Parsed<Target> {
  const match = /^(\[[^\]]*\]|[^:]*):(\d{1,5})$/.exec(text);
  if (!match) {
    return no("the target must be host:port");
  }
  const [, host = "", port = ""] = match;
  return parseTarget(host, Number(port));
}

/** Parses the absolute form of a plain request, `http://host[:port]/path`; `path` keeps its query. */
export function parseAbsoluteUrl(text: string): Parsed<{ readonly target: Target; readonly path: string }> {
  const match = /^http:\/\/([^/?#]+)([^#]*)$/i.exec(text);
  if (!match || !/^[\x21-\x7e]+$/.test(text)) {
    return no("a plain request must name an http URL; https goes through CONNECT");
  }
  const [, authority = "", rest = ""] = match;
  const withPort = /:\d{1,5}$/.test(authority) ? authority : `${authority}:80`;
  const target = parseAuthority(withPort);
  return target.ok
    ? { ok: true, value: { target: target.value, path: rest.startsWith("/") ? rest : `/${rest}` } }
    : target;
}

/** Parses a host and a port that were taken apart already. */
export function parseTarget(rawHost: string, port: number): Parsed<Target> {
  if (port < 1 || port > 65_535) {
    return no("the port must be 1 to 65535");
  }
  const bracketed = /^\[([0-9A-Fa-f:.]+)\]$/.exec(rawHost)?.[1];
  if (bracketed !== undefined) {
    return isIP(bracketed) === 6
      ? { ok: true, value: { host: bracketed.toLowerCase(), port, address: true } }
      : no("the address in brackets must be IPv6 without a zone");
  }
  if (isIP(rawHost) === 4) {
    return { ok: true, value: { host: rawHost, port, address: true } };
  }
  const host = normalHost(rawHost);
  return host === undefined
    ? no("the host must be a host name of letters, digits, hyphens and dots, or an IP address in its usual form")
    : { ok: true, value: { host, port, address: false } };
}

/** The one spelling of a host name, or undefined when it is none. */
export function normalHost(text: string): string | undefined {
  const host = text.toLowerCase().replace(/\.$/, "");
  const labels = host.split(".");
  const fits = host.length <= MAX_HOST && labels.every((label) => LABEL.test(label));
  return fits && !NUMERIC_END.test(labels.at(-1) ?? "") ? host : undefined;
}

/** `host:port`, with brackets around IPv6. */
export function formatTarget({ host, port }: Target): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}
