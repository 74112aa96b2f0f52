import type { TrustedProxies } from "#platform/client-address.ts";
import type { GatewayConfig } from "./config.ts";

/**
 * The proxies that the settings name. Throws an error for operators when the settings contradict each
 * other.
 */
export function trustedProxiesOf(config: GatewayConfig): TrustedProxies {
  const { trustedProxies: networks, trustedProxyHops: hops, proxyProtocol } = config;
  if (networks.length > 0 && hops > 0) {
    throw new Error(
      "Set either LUCKY_GATEWAY_TRUSTED_PROXIES or LUCKY_GATEWAY_TRUSTED_PROXY_HOPS, not both.",
    );
  }
  if (proxyProtocol && networks.length === 0) {
    throw new Error(
      "LUCKY_GATEWAY_PROXY_PROTOCOL needs LUCKY_GATEWAY_TRUSTED_PROXIES: the networks that may send its header.",
    );
  }
  return { networks, hops, proxyProtocol };
}
