import { isIPv4, isIPv6 } from "node:net";
import { firstGroups, plainAddress } from "#platform/network.ts";

/**
 * An address shortened so that it tells the network, not the household: 203.0.113.0/24 or
 * 2001:db8:1::/48. Empty for none and for what is no address.
 */
export function coarseAddress(address: string | undefined): string {
  const plain = plainAddress(address ?? "");
  if (isIPv4(plain)) return `${plain.split(".").slice(0, 3).join(".")}.0/24`;
  return isIPv6(plain) ? `${firstGroups(plain, 3)}::/48` : "";
}
