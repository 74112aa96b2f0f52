import { BlockList, isIPv4, isIPv6, SocketAddress } from "node:net";
import { parseNetwork, plainAddress } from "./network.ts";

/** The parts of an HTTP request that tell its client's address. */
export interface AddressedRequest {
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  readonly socket: { readonly remoteAddress?: string | undefined };
}

/**
 * Returns the address of the client of a request, without port and zone, IPv4 in its own form.
 * Undefined when the connection has closed.
 */
export type ClientAddressFinder = (request: AddressedRequest) => string | undefined;

/**
 * Maximum elements of X-Forwarded-For that are read, from the right. Without this bound a client
 * could make the gateway check thousands of addresses of proxies, microseconds each.
 */
const MAX_HOPS = 32;

/**
 * Finds clients behind trusted proxies, given as networks ("10.0.0.0/8") or addresses.
 *
 * Each proxy appends the address of its own peer to X-Forwarded-For. The walk therefore starts at
 * the peer of the connection and goes through the header from the right, as long as the address
 * before is a trusted proxy's: any other peer could have forged what stands left of it. An element
 * that is not an address ends the walk, and the address before it counts.
 */
export function clientAddressFinder(trustedProxies: readonly string[]): ClientAddressFinder {
  const proxies = new BlockList();
  for (const text of trustedProxies) {
    const network = parseNetwork(text);
    if (network === undefined) throw new Error(`not a network: ${text}`);
    proxies.addSubnet(network.address, network.prefix, network.family);
  }
  const isProxy = (address: string) => proxies.check(address, isIPv4(address) ? "ipv4" : "ipv6");

  return ({ headers, socket }) => {
    let address = socket.remoteAddress && plainAddress(socket.remoteAddress);
    const header = headers["x-forwarded-for"];
    if (!address || trustedProxies.length === 0 || header === undefined) return address;
    const hops = String(header).split(",").slice(-MAX_HOPS);
    while (isProxy(address)) {
      const previous = addressIn(hops.pop() ?? "");
      if (previous === undefined) break;
      address = previous;
    }
    return address;
  };
}

/** The address in an element of X-Forwarded-For; undefined when it is anything else. */
function addressIn(element: string): string | undefined {
  const text = element.trim();
  const ipv4 = text.replace(/:\d{1,5}$/, "");
  if (isIPv4(ipv4)) return ipv4;
  const ipv6 = (/^\[(.*)\](?::\d{1,5})?$/.exec(text)?.[1] ?? text).replace(/%.*$/, "");
  if (!isIPv6(ipv6)) return undefined;
  // SocketAddress unifies the many notations of an IPv6 address.
  return plainAddress(new SocketAddress({ address: ipv6, family: "ipv6" }).address);
}
