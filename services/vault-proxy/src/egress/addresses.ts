/**
 * Which addresses are the public internet. Everything that is not is refused, whatever name led there: loopback,
 * private, link-local (cloud metadata), carrier-grade NAT, documentation, multicast, and every IPv6 form that carries an
 * IPv4 address. Sources: the IANA special-purpose address registries (RFC 6890 and successors).
 */
import { BlockList, isIP } from "node:net";

const SPECIAL_IPV4 = [
  "0.0.0.0/8",
  "10.0.0.0/8",
  "100.64.0.0/10",
  "127.0.0.0/8",
  "169.254.0.0/16",
  "172.16.0.0/12",
  "192.0.0.0/24",
  "192.0.2.0/24",
  "192.88.99.0/24",
  "192.168.0.0/16",
  "198.18.0.0/15",
  "198.51.100.0/24",
  "203.0.113.0/24",
  "224.0.0.0/4",
  "240.0.0.0/4",
];
/** Global unicast is 2000::/3; these parts of it are not. Mapped, translated and unique-local forms lie outside. */
const GLOBAL_IPV6 = ["2000::/3"];
const SPECIAL_IPV6 = ["2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"];

const specialIpv4 = blockListOf(SPECIAL_IPV4);
const globalIpv6 = blockListOf(GLOBAL_IPV6);
const specialIpv6 = blockListOf(SPECIAL_IPV6);

/** True for an address of the public internet. */
export function isPublicAddress(address: string): boolean {
  switch (isIP(address)) {
    case 4:
      return !specialIpv4.check(address, "ipv4");
    case 6:
      return globalIpv6.check(address, "ipv6") && !specialIpv6.check(address, "ipv6");
    default:
      return false;
  }
}

/** Answers whether an address lies in one of the ranges; throws on a range that is not `address/prefix`. */
export function addressRanges(ranges: readonly string[]): (address: string) => boolean {
  const list = blockListOf(ranges);
  return (address) => {
    const version = isIP(address);
    return version !== 0 && list.check(address, version === 4 ? "ipv4" : "ipv6");
  };
}

/** True for `address/prefix` with a prefix that fits the address. */
export function isAddressRange(text: string): boolean {
  const [address = "", prefix = "", ...rest] = text.split("/");
  const version = isIP(address);
  return rest.length === 0 && version !== 0 && /^\d{1,3}$/.test(prefix) && Number(prefix) <= (version === 4 ? 32 : 128);
}

function blockListOf(ranges: readonly string[]): BlockList {
  const list = new BlockList();
  for (const range of ranges) {
    if (!isAddressRange(range)) {
      throw new Error(`${range} is not an address range like 10.0.0.0/8`);
    }
    const [address = "", prefix = ""] = range.split("/");
    list.addSubnet(address, Number(prefix), isIP(address) === 4 ? "ipv4" : "ipv6");
  }
  return list;
}
