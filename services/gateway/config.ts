import { type ConfigOf, defineConfig, setting } from "#platform/config/config.ts";
import { parseNetwork } from "#platform/network.ts";

/** Settings of the gateway. Read from LUCKY_GATEWAY_<KEY>. */
export const gatewayConfig = defineConfig("gateway", {
  port: setting.integer({
    default: 9191,
    min: 0,
    max: 65_535,
    unit: "port",
    doc: "Port for gRPC, gRPC-Web, Connect and the WebSocket; 0 selects any free port.",
  }),
  tlsCertFile: setting.text({
    default: "",
    doc: "File with the certificate of the port, followed by the intermediate ones, in PEM. With it, the port accepts TLS 1.2 and 1.3 only. Read again when it changes; a pair that is not valid is refused, and the last valid one stays. Empty: plain text, for a proxy that terminates TLS.",
  }),
  tlsKeyFile: setting.text({
    default: "",
    doc: "File with the private key of tlsCertFile, in PEM, without a password.",
  }),
  corsOrigins: setting.list({
    default: ["*"],
    doc: "Origins of web pages that may call; * for every origin. Calls authenticate by a token, never by a cookie.",
  }),
  trustedProxies: setting.list({
    default: [],
    items: {
      plural: "networks such as 10.0.0.0/8 or 2001:db8::/32",
      allows: (item) => parseNetwork(item) !== undefined,
    },
    doc: "Addresses of the proxies in front of the gateway, which append the address of their caller to X-Forwarded-For. The last address in this header that is not a proxy's counts as the caller's. List proxies only: a caller from such a network can forge its address. Empty: the header is ignored.",
  }),
  trustedProxyHops: setting.integer({
    default: 0,
    min: 0,
    max: 32,
    unit: "proxies",
    doc: "Instead of trustedProxies, for proxies without fixed addresses: the number of proxies that every request passes. The caller's address is then the element at this place of X-Forwarded-For, counted from the right. Nobody may reach the gateway's port without passing these proxies: such a caller could forge its address. 0: not used.",
  }),
  proxyProtocol: setting.bool({
    default: false,
    doc: "Whether each connection begins with a header of the PROXY protocol, version 2, which tells the caller's address. Only trustedProxies may connect then; a connection without a valid header is closed.",
  }),
  reflection: setting.bool({
    live: true,
    default: true,
    doc: "Whether tools such as buf curl and grpcurl can read the public contract by gRPC's reflection. It reveals nothing that is not in proto/.",
  }),
  docs: setting.bool({
    live: true,
    default: true,
    doc: "Whether /docs serves the pages for client authors: the methods with a form to call them, the protocol, permissions and errors.",
  }),
  maxTunnels: setting.integer({
    live: true,
    default: 100_000,
    min: 1,
    max: 10_000_000,
    unit: "WebSockets",
    doc: "Maximum WebSockets that the gateway proxies at the same time; further ones are refused with 503. Choose it by the memory of the host.",
  }),
  drainMs: setting.integer({
    live: true,
    default: 10_000,
    min: 0,
    max: 10_000,
    unit: "ms",
    doc: "Period over which a stopping gateway cuts its WebSockets, one after the other, so that their devices spread their reconnects. Keep it below the stop time-out of the process manager; all parts of a stopping process have 12 s together.",
  }),
  connectTimeoutMs: setting.integer({
    live: true,
    default: 2_000,
    min: 100,
    max: 60_000,
    unit: "ms",
    doc: "Time-out for a connect instance to accept a WebSocket; then the gateway tries the next instance.",
    tuning: true,
  }),
  hintLifetimeMs: setting.integer({
    live: true,
    default: 60_000,
    min: 1_000,
    max: 3_600_000,
    unit: "ms",
    doc: "Time for which a URL of ResolveEndpoint leads to the instance that it was issued for.",
    tuning: true,
  }),
});
export type GatewayConfig = ConfigOf<typeof gatewayConfig>;
