import { isIPv4, isIPv6, SocketAddress } from "node:net";

/**
 * An address without the parts that have a meaning on this machine only: the IPv6 form of IPv4, and
 * the zone.
 */
export function plainAddress(address: string): string {
  return address.replace(/^::ffff:(?=\d+\.)/i, "").replace(/%.*$/, "");
}

/**
 * The canonical notation of an address: IPv6 in its shortest form, IPv4 in its own form. A text that is
 * not an address is returned unchanged.
 */
export function canonicalAddress(address: string): string {
  const plain = plainAddress(address);
  if (!isIPv6(plain)) return plain;
  return plainAddress(new SocketAddress({ address: plain, family: "ipv6" }).address);
}

/** The first groups of an IPv6 address, in hexadecimal without leading zeros: "2001:db8:1". */
export function firstGroups(ipv6: string, count: number): string {
  const [head = "", tail] = ipv6.split("::");
  const groups = head === "" ? [] : head.split(":");
  // "::" abbreviates all missing groups, which are zero.
  const missing = 8 - groups.length - (tail ? tail.split(":").length : 0);
  if (tail !== undefined) groups.push(...Array<string>(missing).fill("0"));
  const first = groups.slice(0, count).map((group) => Number.parseInt(group, 16).toString(16));
  return first.join(":");
}

/** A range of addresses. */
export interface Network {
  readonly address: string;
  /** Number of leading bits that all its addresses share. */
  readonly prefix: number;
  readonly family: "ipv4" | "ipv6";
}

/**
 * Parses CIDR notation, "10.0.0.0/8" or "2001:db8::/32"; an address alone is a network of one.
 * Undefined for anything else, and for a prefix of 0, which would contain every address.
 */
export function parseNetwork(text: string): Network | undefined {
  const [, address = "", digits] = /^([^/%]+)(?:\/(\d{1,3}))?$/.exec(text) ?? [];
  const family = isIPv4(address) ? "ipv4" : "ipv6";
  if (family === "ipv6" && !isIPv6(address)) return undefined;
  const bits = family === "ipv4" ? 32 : 128;
  const prefix = digits === undefined ? bits : Number(digits);
  return prefix >= 1 && prefix <= bits ? { address, prefix, family } : undefined;
}

/**
 * The key under which rate limits count the calls of an address: the address itself for IPv4, its
 * /64 network for IPv6, because one host can use every address of its /64. A text that is not an
 * address is returned unchanged.
 */
export function networkOf(address: string): string {
  const known = canonicalAddress(address);
  return isIPv6(known) ? `${firstGroups(known, 4)}::/64` : known;
}

/**
 * The /48 network of an IPv6 address: the largest network that a provider usually gives to one
 * customer. Undefined for IPv4.
 */
export function siteOf(address: string): string | undefined {
  const known = canonicalAddress(address);
  return isIPv6(known) ? `${firstGroups(known, 3)}::/48` : undefined;
}

/**
 * A /48 network has this many times the budget of a /64 network: some providers give each of many
 * customers a /64 of one /48.
 */
export const SITE_FACTOR = 16;
