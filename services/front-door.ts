import { randomBytes } from "node:crypto";
import { createClient, type Transport } from "@connectrpc/connect";
import { IngressService } from "#gen/lucky/internal/ingress/v1/ingress_pb.js";
import { SessionService } from "#gen/lucky/internal/session/v1/session_pb.js";
import type { ConnectionBounds } from "#platform/connections/connection-bounds.ts";
import { openConnectionBounds } from "#platform/connections/open-files.ts";
import type { Identity } from "#platform/identity/identity.ts";
import { openAt } from "#platform/process/listen-address.ts";
import { serveOps } from "#platform/process/ops.ts";
import type { DescribeDeliveries } from "#platform/process/process-service.ts";
import { methodTable } from "#platform/rpc/calling/method-table.ts";
import { publicServices } from "#platform/rpc/contract.ts";
import { budgetsOf } from "#platform/rpc/interceptors/budgets.ts";
import { serverInterceptors } from "#platform/rpc/interceptors/interceptors.ts";
import { listen } from "#platform/rpc/serving/listen.ts";
import type { ServiceName } from "#platform/service-name.ts";
import { type Connect, startConnect } from "./connect/service.ts";
import { startGateway } from "./gateway/service.ts";
import type { Adapters, Runtime } from "./runtime.ts";

/** The parts of the system that the front door forwards to. */
export interface FrontDoorDependencies {
  readonly runtime: Runtime;
  readonly adapters: Adapters;
  readonly identity: Identity;
  /** Transports to auth and server in this process, for calls of the given service. */
  readonly transportsOf: (caller: ServiceName) => {
    readonly auth: Transport;
    readonly server: Transport;
  };
  /** Whether auth and server are ready. */
  readonly ready: () => boolean;
}

/** The listening addresses, each "http://host:port". */
export interface FrontDoor {
  /** Address of the gateway, for devices; "https://host:port" when it has a certificate. */
  readonly url: string;
  /** Address of connect's own WebSockets. */
  readonly connectUrl: string;
  /** Address of metrics and health checks, for the operator. */
  readonly opsUrl: string;
  /** Describes deliveries to the sessions of connect, for operators. */
  readonly deliveries: DescribeDeliveries;
}

/** The dependencies, and the secret between the gateway and connect, unknown outside this process. */
type Parts = FrontDoorDependencies & { readonly secret: string };

const CONNECT_ID = "connect-0";
const LISTEN_GRACE_MS = 2_000;

/** Sockets of a proxied WebSocket in this process: two of the gateway, one of connect. */
const FILES_PER_CONNECTION = 3;

/** Starts the listening parts: connect, the gateway and the operator's port, in this order. */
export async function openFrontDoor(given: FrontDoorDependencies): Promise<FrontDoor> {
  const dependencies = { ...given, secret: randomBytes(32).toString("base64url") };
  const { config, ...shared } = dependencies.runtime;
  const bounds = openConnectionBounds({
    ...shared,
    limits: config.limits,
    filesPerConnection: FILES_PER_CONNECTION,
  });
  const connect = await openConnect(dependencies, bounds);
  const gateway = await openGateway(dependencies, connect, bounds);
  const ops = await openOps(dependencies, gateway.ready);
  return {
    url: urlOf(config.platform.host, gateway.port, gateway.scheme),
    connectUrl: urlOf(connectHost(dependencies.runtime), connect.port),
    opsUrl: urlOf(config.platform.opsHost, ops.port),
    deliveries: connect.deliveries,
  };
}

async function openConnect(dependencies: Parts, bounds: ConnectionBounds): Promise<Connect> {
  const { runtime, adapters, identity, secret } = dependencies;
  const { config, log, metrics, clock, traces, started } = runtime;
  const { bus, registry, limiter } = adapters;
  const transports = dependencies.transportsOf("connect");
  const { auth: toAuth, server: toServer } = transports;
  const address = {
    host: connectHost(runtime),
    port: config.connect.port,
    variable: "LUCKY_CONNECT_PORT",
  };
  const connect = await openAt(address, () =>
    startConnect({
      config: config.connect,
      host: address.host,
      log,
      metrics,
      bus,
      registry,
      verifier: identity.verifier,
      revocations: identity.revocations,
      ingress: createClient(IngressService, toServer),
      methods: methodTable(publicServices(transports), {
        limiter,
        budgets: budgetsOf(config.limits),
        shedder: runtime.shedder,
      }),
      sessions: createClient(SessionService, toAuth),
      clock,
      traces,
      gatewaySecrets: [secret],
      // On the loopback, its only clients are the tunnels of the gateway, which counts them.
      bounds: config.connect.host === "" ? undefined : bounds,
      instance: {
        instanceId: CONNECT_ID,
        address: urlOf(address.host, address.port),
        publicAddress: config.connect.publicAddress,
      },
    }),
  );
  started.push(() => connect.stop());
  return connect;
}

async function openGateway(
  dependencies: Parts,
  connect: Connect,
  bounds: ConnectionBounds,
): Promise<{
  readonly port: number;
  readonly scheme: "http" | "https";
  readonly ready: () => boolean;
}> {
  const { runtime, adapters, identity, secret } = dependencies;
  const { config, log, metrics, clock, traces, started } = runtime;
  const { verifier } = identity;
  const gateway = await startGateway({
    config: config.gateway,
    log,
    metrics,
    registry: adapters.registry,
    verifier,
    transports: dependencies.transportsOf("gateway"),
    secret,
    clock,
    bounds,
  });
  started.push(() => gateway.certificate?.close());
  const ready = () =>
    identity.ready() && dependencies.ready() && connect.ready() && gateway.ready();
  const address = {
    host: config.platform.host,
    port: config.gateway.port,
    variable: "LUCKY_GATEWAY_PORT",
  };
  const listening = await openAt(address, () =>
    listen({
      ...address,
      served: gateway.served,
      ...serverInterceptors({
        log,
        metrics,
        clock,
        verifier,
        limiter: adapters.limiter,
        budgets: budgetsOf(config.limits),
        refusalsPerSecond: () => config.limits.refusalsPerSecond,
        shedder: runtime.shedder,
        traces,
      }),
      log,
      metrics,
      health: ready,
      pages: gateway.pages,
      onUpgrade: gateway.upgrade,
      fallback: gateway.fallback,
      cors: config.gateway.corsOrigins,
      certificate: gateway.certificate,
      trustedProxies: gateway.trustedProxies,
      bounds,
      graceMs: LISTEN_GRACE_MS,
    }),
  );
  started.push(() => listening.close());
  // Connect stops first: its sessions end with Move and their close code, and with them the tunnels.
  started.push(() => gateway.stop());
  started.push(() => connect.stop());
  return { port: listening.port, scheme: gateway.certificate ? "https" : "http", ready };
}

async function openOps(
  { runtime }: FrontDoorDependencies,
  ready: () => boolean,
): Promise<{ readonly port: number }> {
  const { config, log, metrics, started: parts } = runtime;
  const { opsHost, opsPort } = config.platform;
  const address = { host: opsHost, port: opsPort, variable: "LUCKY_OPS_PORT" };
  // Called at the end of the start.
  const started = () => true;
  const ops = await openAt(address, () => serveOps({ ...address, metrics, started, ready, log }));
  parts.push(() => ops.close());
  return ops;
}

/** Where connect listens: on the loopback, because devices reach it through the gateway's port. */
function connectHost({ config }: Runtime): string {
  return config.connect.host || "127.0.0.1";
}

/** The address under which this machine reaches a listening host. */
function urlOf(host: string, port: number, scheme = "http"): string {
  const name = host === "0.0.0.0" || host === "::" ? "127.0.0.1" : host;
  return `${scheme}://${name.includes(":") ? `[${name}]` : name}:${port}`;
}
