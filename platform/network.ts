import { isIPv4, isIPv6 } from "node:net";

/** An address without what only its own machine knows of it: IPv4 inside IPv6, a zone. */
export function plainAddress(address: string): string {
  return address.replace(/^::ffff:(?=\d+\.)/i, "").replace(/%.*$/, "");
}

/** The first groups of an IPv6 address, in hexadecimal without leading zeros: "2001:db8:1". */
export function firstGroups(ipv6: string, count: number): string {
  const [head = "", tail] = ipv6.split("::");
  const groups = head === "" ? [] : head.split(":");
  // "::" stands for as many zeros as are missing.
  const missing = 8 - groups.length - (tail ? tail.split(":").length : 0);
  if (tail !== undefined) groups.push(...Array<string>(missing).fill("0"));
  const first = groups.slice(0, count).map((group) => Number.parseInt(group, 16).toString(16));
  return first.join(":");
}

/**
 * What calls of one address are counted under: an IPv4 address, or the /64 of an IPv6 one, in which
 * its owner takes as many addresses as he likes. What is no address stays as it is.
 */
export function networkOf(address: string): string {
  const plain = plainAddress(address);
  if (isIPv4(plain) || !isIPv6(plain)) return plain;
  return `${firstGroups(plain, 4)}::/64`;
}
