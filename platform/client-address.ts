import { BlockList, isIPv4, isIPv6 } from "node:net";
import { canonicalAddress, parseNetwork, plainAddress } from "./network.ts";

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

/** The proxies in front of a listener. Either networks or a number of hops; neither: no proxy. */
export interface TrustedProxies {
  /** Networks ("10.0.0.0/8") and addresses of the proxies. */
  readonly networks?: readonly string[];
  /** Number of proxies that every request passes; 0 when absent. */
  readonly hops?: number;
  /**
   * Whether each connection begins with a header of the PROXY protocol, version 2, which only
   * trusted networks may send.
   */
  readonly proxyProtocol?: boolean;
}

/** The trusted proxies of a listener, and the clients behind them. */
export interface ProxyChain {
  /** Whether the peer of a connection is a trusted proxy. */
  isProxy(peer: string): boolean;
  readonly clientAddress: ClientAddressFinder;
  /**
   * The address of the client behind the trusted proxy that sent the request. Undefined when the
   * client sent it itself, or when the proxy did not tell the client's address.
   */
  behindProxy(request: AddressedRequest): string | undefined;
}

/**
 * Finds clients behind trusted proxies.
 *
 * Each proxy appends the address of its own peer to X-Forwarded-For. The walk therefore starts at
 * the peer of the connection and goes through the header from the right, as long as the address
 * before is a trusted proxy's, or for the number of hops: any other peer could have forged the
 * elements to its left. An element that is not an address ends the walk, and the address before it
 * counts.
 */
export function proxyChain({ networks = [], hops = 0 }: TrustedProxies): ProxyChain {
  const proxies = new BlockList();
  for (const text of networks) {
    const network = parseNetwork(text);
    if (network === undefined) throw new Error(`not a network: ${text}`);
    proxies.addSubnet(network.address, network.prefix, network.family);
  }
  /** Whether to trust an address that the walk reached after this number of hops. */
  const isTrusted = (address: string, distance: number) =>
    distance < hops || proxies.check(address, isIPv4(address) ? "ipv4" : "ipv6");

  function clientAddress({ headers, socket }: AddressedRequest): string | undefined {
    let address = socket.remoteAddress && plainAddress(socket.remoteAddress);
    const header = headers["x-forwarded-for"];
    if (!address || (networks.length === 0 && hops === 0) || header === undefined) return address;
    const elements = String(header).split(",").slice(-MAX_HOPS);
    for (let distance = 0; isTrusted(address, distance); distance++) {
      const previous = addressIn(elements.pop() ?? "");
      if (previous === undefined) break;
      address = previous;
    }
    return address;
  }

  function isProxy(peer: string): boolean {
    return (networks.length > 0 || hops > 0) && isTrusted(plainAddress(peer), 0);
  }

  return {
    isProxy,
    clientAddress,
    behindProxy(request) {
      const peer = request.socket.remoteAddress;
      if (!peer || !isProxy(peer)) return undefined;
      const client = clientAddress(request);
      return client === plainAddress(peer) ? undefined : client;
    },
  };
}

/** The address in an element of X-Forwarded-For; undefined when it is anything else. */
function addressIn(element: string): string | undefined {
  const text = element.trim();
  const ipv4 = text.replace(/:\d{1,5}$/, "");
  if (isIPv4(ipv4)) return ipv4;
  const ipv6 = (/^\[(.*)\](?::\d{1,5})?$/.exec(text)?.[1] ?? text).replace(/%.*$/, "");
  return isIPv6(ipv6) ? canonicalAddress(ipv6) : undefined;
}
