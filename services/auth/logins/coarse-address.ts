import { isIPv4, isIPv6 } from "node:net";
import { firstGroups, plainAddress } from "#platform/network.ts";

/**
 * Shortens an IP address to its network, so that it does not identify a household: 203.0.113.0/24 or
 * 2001:db8:1::/48. Empty when the address is missing or invalid.
 */
export function coarseAddress(address: string | undefined): string {
  const plain = plainAddress(address ?? "");
  if (isIPv4(plain)) return `${plain.split(".").slice(0, 3).join(".")}.0/24`;
  return isIPv6(plain) ? `${firstGroups(plain, 3)}::/48` : "";
}
