/** Host and port of a listen address or a peer. */
export type Address = { readonly host: string; readonly port: number };

/** Parses `host:port` or `[v6]:port`; undefined when it is neither or the port is out of range. */
export function parseAddress(text: string): Address | undefined {
  const match = /^(?:\[([0-9A-Fa-f:.%]+)\]|([^:[\]/\s,]+)):(\d{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  return host !== undefined && port <= 65535 ? { host, port } : undefined;
}

/** `host:port`, with brackets around IPv6. */
export function formatAddress(address: Address): string {
  return address.host.includes(":") ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}
