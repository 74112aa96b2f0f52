import type { TLSSocket } from "node:tls";
import type { Transport } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import type { Clock } from "#platform/clock.ts";
import type { MeshTls } from "#platform/mesh-tls.ts";
import type { Instance, Registry } from "#platform/registry/registry.ts";
import { type BreakerState, createBreaker } from "./breaker.ts";
import { type LeanLink, leanLink } from "./lean-link.ts";
import type { Ejectable } from "./outlier-ejection.ts";

/** PING interval and time-out of HTTP/2: they detect a dead peer of an open connection. */
const KEEP_ALIVE = { pingIntervalMs: 20_000, pingTimeoutMs: 5_000 };
const INITIAL_WINDOW_BYTES = 1024 * 1024;

/** The connection to one instance. */
export interface InstanceConnection extends Ejectable {
  readonly address: string;
  readonly grpc: Transport;
  readonly sessions: Http2SessionManager;
  /** Carries unary calls; undefined when they go over gRPC too. */
  readonly lean: LeanLink | undefined;
  /** Calls in flight, and those of them that belong to users. */
  calls: number;
  userCalls: number;
  /** The instance has left the registry: the connection ends with its last call. */
  retired: boolean;
}

export interface InstancePool {
  /**
   * Connections to all live instances, in the order of the registry. Connections to instances that
   * left the registry are retired.
   */
  live(): Promise<InstanceConnection[]>;
  /** The connections that are not retired. */
  known(): Iterable<InstanceConnection>;
  /** Ends all connections, and with them the calls in flight. Idempotent. */
  close(): void;
}

export function instancePool(options: {
  readonly registry: Pick<Registry, "instances">;
  readonly service: string;
  readonly secret: string;
  readonly tls?: MeshTls | undefined;
  readonly clock: Clock;
  readonly lean?: boolean;
  /** Called after each change of an instance's breaker, with the state before. */
  readonly breakerChanged: (instanceId: string, state: BreakerState, before: BreakerState) => void;
}): InstancePool {
  const { registry, service, secret, tls, clock, lean = false, breakerChanged } = options;
  const connections = new Map<string, InstanceConnection>();
  let closed = false;

  function connectionTo({ instanceId, address }: Instance): InstanceConnection {
    const known = connections.get(address);
    if (known !== undefined) return known;
    const sessions = new Http2SessionManager(address, KEEP_ALIVE, {
      settings: { initialWindowSize: INITIAL_WINDOW_BYTES },
      ...(tls && { createConnection: (to: URL) => secured(tls, service, to) }),
    });
    const connection = {
      instanceId,
      address,
      // No compression: within the mesh, processor time costs more than bytes.
      grpc: createGrpcTransport({
        baseUrl: address,
        sessionManager: sessions,
        acceptCompression: [],
      }),
      sessions,
      lean: lean ? leanLink({ service, address, secret, tls, clock }) : undefined,
      calls: 0,
      userCalls: 0,
      breaker: createBreaker({
        clock,
        changed: (state, before) => breakerChanged(instanceId, state, before),
      }),
      retired: false,
      lastFailedAtMs: 0,
      ejectedUntilMs: 0,
    };
    connections.set(address, connection);
    return connection;
  }

  function retire(connection: InstanceConnection): void {
    connections.delete(connection.address);
    connection.retired = true;
    if (connection.calls === 0) end(connection);
  }

  return {
    async live() {
      const instances = closed ? [] : await registry.instances(service);
      const live = instances.map(connectionTo);
      for (const connection of connections.values()) {
        if (!live.includes(connection)) retire(connection);
      }
      return live;
    },
    known: () => connections.values(),
    close() {
      closed = true;
      for (const connection of connections.values()) {
        connection.retired = true;
        end(connection);
      }
      connections.clear();
    },
  };
}

/**
 * Keeps the connection open for a call. The caller calls the returned function when the call has
 * ended.
 */
export function hold(connection: InstanceConnection, ofUser: boolean): () => void {
  let held = true;
  connection.calls++;
  if (ofUser) connection.userCalls++;
  return () => {
    if (!held) return;
    held = false;
    connection.calls--;
    if (ofUser) connection.userCalls--;
    if (connection.retired && connection.calls === 0) end(connection);
  };
}

/** A connection of TLS for HTTP/2. */
function secured(tls: MeshTls, service: string, { hostname, port }: URL): TLSSocket {
  const host = hostname.replace(/^\[|\]$/g, "");
  return tls.connect(service, { host, port: Number(port), ALPNProtocols: ["h2"] });
}

function end({ sessions, lean }: InstanceConnection): void {
  sessions.abort();
  lean?.close();
}
