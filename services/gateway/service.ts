import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { createClient, type Transport } from "@connectrpc/connect";
import { EndpointService } from "#gen/lucky/frame/v1/frame_pb.js";
import type { ServedCertificate } from "#platform/certificates/served-certificate.ts";
import { proxyChain, type TrustedProxies } from "#platform/client-address.ts";
import type { Clock } from "#platform/clock.ts";
import type { ConnectionBounds } from "#platform/connections/connection-bounds.ts";
import { createPeerProof } from "#platform/identity/peer-proof.ts";
import type { TokenVerifier } from "#platform/identity/tokens.ts";
import type { Log } from "#platform/log.ts";
import type { MeshTls } from "#platform/mesh-tls.ts";
import type { Metrics } from "#platform/metrics.ts";
import type { Registry } from "#platform/registry/registry.ts";
import { forward } from "#platform/rpc/calling/forward.ts";
import { publicServices, type ReachableService } from "#platform/rpc/contract.ts";
import { type RunningService, type Served, serve } from "#platform/rpc/served.ts";
import type { AnswerPage } from "#platform/rpc/serving/handler.ts";
import { certificateOf } from "./certificate.ts";
import type { GatewayConfig } from "./config.ts";
import { endpointService } from "./endpoint.ts";
import { answerFallback } from "./fallback.ts";
import { createHints } from "./hint.ts";
import { createPages } from "./pages/pages.ts";
import { createPlacement } from "./placement.ts";
import { reflectionServices } from "./reflection/reflection.ts";
import { trustedProxiesOf } from "./trusted-proxies.ts";
import { createTunnels } from "./tunnel.ts";

export interface GatewayDependencies {
  readonly config: GatewayConfig;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly registry: Registry;
  readonly verifier: TokenVerifier;
  /** Transports to the services that the gateway forwards to. */
  readonly transports: { readonly auth: Transport; readonly server: Transport };
  /** The gateway's secret, of all its instances: key of hints and of peer proofs. */
  readonly secret: string;
  /** TLS to connect; plain text when absent. */
  readonly tls?: MeshTls | undefined;
  readonly clock: Clock;
  /** Bounds of the connections of this process. */
  readonly bounds: ConnectionBounds;
}

export interface Gateway extends RunningService {
  /** The certificate of the gateway's port; plain text when undefined. */
  readonly certificate: ServedCertificate | undefined;
  /** Proxies in front of the gateway's port. */
  readonly trustedProxies: TrustedProxies;
  /** Takes an HTTP/1.1 upgrade, in the form of the event of node:http. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  /** Answers requests for the pages under /docs while they are switched on. */
  readonly pages: AnswerPage;
  /** Answers any other HTTP/1.1 request that is not an RPC. */
  fallback(request: IncomingMessage, response: ServerResponse): void;
}

/**
 * Starts the gateway: forwards the public services to auth and server, and WebSockets to connect.
 * Only the services in this list can be reached from outside.
 */
export async function startGateway(dependencies: GatewayDependencies): Promise<Gateway> {
  const { config, log, metrics, registry, verifier, transports, clock } = dependencies;
  const trustedProxies = trustedProxiesOf(config);
  const certificate = await certificateOf(config, { clock, log, metrics });
  const placement = createPlacement({ registry, log });
  const hints = createHints({
    secret: dependencies.secret,
    lifetimeMs: () => config.hintLifetimeMs,
    clock,
  });
  const tunnels = createTunnels({
    log,
    metrics,
    placement,
    hints,
    verifier,
    proof: createPeerProof([dependencies.secret]),
    tls: dependencies.tls,
    proxies: proxyChain(trustedProxies),
    bounds: dependencies.bounds,
    clock,
    config,
  });
  let running = true;

  const contract = [
    ...publicServices(transports).map(forwarded),
    serve(EndpointService, endpointService({ placement, hints })),
  ];
  const reflection = reflectionServices({
    shown: contract.map(({ service }) => service),
    enabled: () => config.reflection,
  });
  const pages = createPages({ clock, log });

  return {
    served: [...contract, ...reflection],
    certificate,
    trustedProxies,
    pages: (request, response) => config.docs && pages(request, response),
    upgrade: tunnels.upgrade,
    fallback: answerFallback,
    ready: () => running,
    async stop() {
      running = false;
      certificate?.close();
      await tunnels.close(config.drainMs);
    },
  };
}

function forwarded({ service, transport }: ReachableService): Served {
  return serve(service, forward(service, createClient(service, transport)));
}
