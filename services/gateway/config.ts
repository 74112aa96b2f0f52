import { type ConfigOf, defineConfig, setting } from "#platform/config/config.ts";

/** Settings of the gateway: LUCKY_GATEWAY_… */
export const gatewayConfig = defineConfig("gateway", {
  port: setting.integer({
    default: 9191,
    min: 0,
    max: 65_535,
    unit: "port",
    doc: "Port for gRPC, gRPC-Web, Connect and the WebSocket; 0 takes a free one.",
  }),
  corsOrigins: setting.list({
    default: ["*"],
    doc: "Origins of web pages that may call; * for any. Calls prove themselves by a token, never by a cookie.",
  }),
  trustForwardedFor: setting.bool({
    default: false,
    doc: "Whether a proxy in front names the caller in X-Forwarded-For. Without one, anybody could.",
  }),
  connectTimeoutMs: setting.integer({
    default: 2_000,
    min: 100,
    max: 60_000,
    unit: "ms",
    doc: "How long a connect instance may take to accept a WebSocket before the next one is tried.",
  }),
  maxTunnels: setting.integer({
    default: 100_000,
    min: 1,
    max: 10_000_000,
    unit: "WebSockets",
    doc: "WebSockets passed on at once; more are refused with 503.",
  }),
  hintLifetimeMs: setting.integer({
    default: 60_000,
    min: 1_000,
    max: 3_600_000,
    unit: "ms",
    doc: "How long the URL that ResolveEndpoint gives leads to the instance that it was given for.",
  }),
  drainMs: setting.integer({
    default: 5_000,
    min: 0,
    max: 600_000,
    unit: "ms",
    doc: "How long a stopping gateway lets WebSockets end by themselves before it cuts them.",
  }),
});
export type GatewayConfig = ConfigOf<typeof gatewayConfig>;
