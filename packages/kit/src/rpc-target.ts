import { lookup } from "node:dns/promises";
import { type ChannelOptions, experimental, Metadata, status } from "@grpc/grpc-js";
import { formatAddress, parseAddress } from "./address.ts";
import { AppError } from "./errors.ts";

const SCHEME = "mh-list";
const MAX_ADDRESSES = 64;
const MIN_MS_BETWEEN_LOOKUPS = 1000;

/**
 * A gRPC target for an address setting: `host:port`, several of them by comma (names or IPs), or any target with a
 * scheme (`dns:///`, `ipv4:`, `ipv6:`, `unix:`) as it is. Throws AppError kind `invalid` naming the bad part.
 */
export function rpcTarget(address: string): string {
  if (/^(dns|ipv4|ipv6|unix):/.test(address)) {
    return address;
  }
  const parts = address.split(",").map((part) => part.trim());
  const bad = parts.find((part) => !parseAddress(part));
  if (bad !== undefined || parts.length > MAX_ADDRESSES) {
    throw AppError.invalid([
      {
        field: "address",
        description: `must be 1 to ${MAX_ADDRESSES} host:port by comma, got ${JSON.stringify(bad ?? address)}`,
      },
    ]);
  }
  registerOnce();
  return parts.length === 1 ? `dns:///${parts[0]}` : `${SCHEME}:${parts.join(",")}`;
}

let registered = false;

function registerOnce(): void {
  if (!registered) {
    registered = true;
    experimental.registerResolver(SCHEME, ListResolver);
  }
}

/** Resolves each name of a list; grpc-js itself knows lists of IPs only. Names that do not resolve are left out. */
class ListResolver implements experimental.Resolver {
  readonly #parts: readonly string[];
  readonly #listener: experimental.ResolverListener;
  #timer: NodeJS.Timeout | undefined;
  #lastMs = Number.NEGATIVE_INFINITY;
  #generation = 0;

  constructor(target: experimental.GrpcUri, listener: experimental.ResolverListener, _options: ChannelOptions) {
    this.#parts = target.path.split(",");
    this.#listener = listener;
  }

  static getDefaultAuthority(target: experimental.GrpcUri): string {
    return target.path.split(",")[0] ?? "";
  }

  updateResolution(): void {
    if (this.#timer) {
      return;
    }
    const waitMs = Math.max(0, this.#lastMs + MIN_MS_BETWEEN_LOOKUPS - performance.now());
    const generation = this.#generation;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#lastMs = performance.now();
      void this.#resolve(generation);
    }, waitMs);
    this.#timer.unref();
  }

  destroy(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#generation += 1;
  }

  async #resolve(generation: number): Promise<void> {
    const found = await Promise.allSettled(this.#parts.map(resolvePart));
    if (generation !== this.#generation) {
      return;
    }
    const endpoints = found.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
    if (endpoints.length > 0) {
      this.#listener(experimental.statusOrFromValue(endpoints), {}, null, "");
      return;
    }
    const details = `none of ${this.#parts.join(", ")} resolves`;
    const error = { code: status.UNAVAILABLE, details, metadata: new Metadata() };
    this.#listener(experimental.statusOrFromError(error), {}, null, "");
  }
}

async function resolvePart(part: string): Promise<experimental.Endpoint> {
  const address = parseAddress(part);
  if (!address) {
    throw new TypeError(`${formatAddress({ host: part, port: 0 })} is not host:port`);
  }
  const found = await lookup(address.host, { all: true });
  // One name is one peer: its addresses are alternatives (IPv4, IPv6), not more peers to balance over.
  return { addresses: found.map((entry) => ({ host: entry.address, port: address.port })) };
}
