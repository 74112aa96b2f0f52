import type { Client } from "@connectrpc/connect";
import { CloseCode } from "#gen/lucky/frame/v1/frame_pb.js";
import type { IngressService } from "#gen/lucky/internal/ingress/v1/ingress_pb.js";
import type { SessionService } from "#gen/lucky/internal/session/v1/session_pb.js";
import type { Bus } from "#platform/bus/bus.ts";
import { proxyChain } from "#platform/client-address.ts";
import type { Clock } from "#platform/clock.ts";
import type { ConfigOf } from "#platform/config/config.ts";
import type { ConnectionBounds } from "#platform/connections/connection-bounds.ts";
import { createPeerProof } from "#platform/identity/peer-proof.ts";
import type { Revocations } from "#platform/identity/revocations.ts";
import type { TokenVerifier } from "#platform/identity/tokens.ts";
import type { Log } from "#platform/log.ts";
import type { MeshTlsFiles } from "#platform/mesh-tls.ts";
import type { Metrics } from "#platform/metrics.ts";
import type { DescribeDeliveries } from "#platform/process/process-service.ts";
import { startAllOrNothing } from "#platform/process/started.ts";
import type { Registry } from "#platform/registry/registry.ts";
import type { MethodTable } from "#platform/rpc/calling/method-table.ts";
import type { RunningService } from "#platform/rpc/served.ts";
import type { Traces } from "#platform/tracing/traces.ts";
import type { connectConfig } from "./config.ts";
import { consumeDeadLetters } from "./downlink/dead-letters.ts";
import { deliveryStates } from "./downlink/delivery-states.ts";
import { Downlink } from "./downlink/downlink.ts";
import { Redelivery } from "./downlink/redelivery.ts";
import { Sweep } from "./downlink/sweep.ts";
import { drain } from "./lifetime/drain.ts";
import { LogResets } from "./lifetime/log-resets.ts";
import {
  type InstanceAddress,
  Registration,
  recoverDeliveries,
  recoverRegistration,
} from "./lifetime/registration.ts";
import { SessionLifecycle } from "./lifetime/session-lifecycle.ts";
import { SessionTimeouts } from "./lifetime/session-timeouts.ts";
import { DeviceRules } from "./opening/device-rules.ts";
import { createDeviceSlots } from "./opening/device-slots.ts";
import { Kicks } from "./opening/kicks.ts";
import { LastSeen } from "./opening/last-seen.ts";
import { createSessionOpener } from "./opening/session-opener.ts";
import { createAdmissions } from "./socket/admissions.ts";
import { FrameBudgets } from "./socket/frame-budgets.ts";
import type { Session } from "./socket/session.ts";
import { Sessions } from "./socket/sessions.ts";
import { listenSockets, type SocketServer } from "./socket/socket-server.ts";
import { Channels } from "./subscriptions/channels.ts";
import { Memberships } from "./subscriptions/memberships.ts";
import { Acknowledgements } from "./uplink/acknowledgements.ts";
import { Intake } from "./uplink/intake.ts";
import { TypingSignals } from "./uplink/typing-signals.ts";
import { Uplinks } from "./uplink/uplink.ts";

export type ConnectConfig = ConfigOf<typeof connectConfig>;

export interface ConnectDependencies {
  config: ConnectConfig;
  /** Address to listen on. */
  host: string;
  log: Log;
  metrics: Metrics;
  bus: Bus;
  registry: Registry;
  verifier: TokenVerifier;
  revocations: Revocations;
  ingress: Client<typeof IngressService>;
  /** Client of auth, for the device policy and for the reports of logins that are online. */
  sessions: Pick<Client<typeof SessionService>, "getDevicePolicy" | "recordLastSeen">;
  /** Public methods that devices may call over their sockets. */
  methods: MethodTable;
  clock: Clock;
  /** Absent: nothing is traced. */
  traces?: Traces | undefined;
  /**
   * Secrets with which gateways prove the peer address of a socket; two during a rotation. Empty:
   * addresses from gateways are ignored.
   */
  gatewaySecrets: readonly string[];
  /** TLS for gateways and proxies with a certificate of the mesh; plain text when absent. */
  tls?: MeshTlsFiles | undefined;
  /** Bounds of the connections of this process; none when absent. */
  bounds?: ConnectionBounds | undefined;
  /** Port 0 in `address` is replaced by the port that the service listens on. */
  instance: InstanceAddress;
}

/**
 * Heartbeat intervals without traffic after which the native server terminates a socket, as the
 * last resort.
 */
const IDLE_HEARTBEATS = 4;

/** Back-off before the retry of a failed join. */
const JOIN_RETRY_MS = 1_000;

/** A running connect service. */
export interface Connect extends RunningService {
  readonly port: number;
  /** States of the deliveries of an entry to the sessions of this instance, for operators. */
  readonly deliveries: DescribeDeliveries;
}

/**
 * Starts the connect service: listens for WebSockets, consumes the instance's queue from the bus
 * and enters the registry. The order matters: publishers find the instance only when it can
 * deliver. Rejects when a step fails; the steps before it are undone.
 */
export async function startConnect(dependencies: ConnectDependencies): Promise<Connect> {
  return startAllOrNothing(async (started) => {
    const { config, log, bus, clock, instance } = dependencies;
    let stage: "starting" | "running" | "stopping" = "starting";
    const sessions = new Sessions();
    const proxies = proxyChain({ networks: config.trustedProxies });
    const { bounds } = dependencies;
    // Without a public address, only gateways connect, which bound their clients.
    const byAddress = config.publicAddress !== "";
    const admissions = bounds && createAdmissions({ bounds, byAddress, proxies, clock });
    const sockets = await listenSockets<Session>({
      host: dependencies.host,
      port: config.port,
      maxFrameBytes: config.maxFrameBytes,
      maxBackpressureBytes: config.maxBackpressureBytes,
      idleSeconds: Math.ceil((config.heartbeatIntervalMs * IDLE_HEARTBEATS) / 1_000),
      proof: createPeerProof(dependencies.gatewaySecrets),
      tls: dependencies.tls,
      proxies,
      admissions,
      refusal() {
        if (stage !== "running") return "this instance starts or stops; retry soon";
        return sessions.size < config.maxSessions ? undefined : "this instance is full; retry soon";
      },
      events: {
        accept: (socket) => lifecycle.accept(socket),
        frame: (session, bytes) => intake.take(session, bytes),
        notBinary: (session) => session.end(CloseCode.PROTOCOL_ERROR, "frames are binary"),
        pong(session) {
          session.lastPongAtMs = clock.elapsed();
        },
        drained: (session) => timeouts.drained(session),
        dropped(session) {
          session.missedGroupEntries = true;
          session.slowSinceMs ??= clock.elapsed();
        },
        lost: (session) => session.terminate(),
        closed: (session, code) => lifecycle.closed(session, code),
      },
      log,
    });
    started.push(() => sockets.close());
    const registration = new Registration(dependencies.registry);
    const parts = createParts({ dependencies, registration, sessions, sockets });
    const { acknowledgements, intake, lifecycle, rules, sweep, timeouts, uplink } = parts;
    started.push(() => rules.close());
    // For a start that fails below: a running service closes its parts first, see the last `push`.
    started.push(() => closeParts(parts));
    dependencies.revocations.onRevoked((loginId) => lifecycle.revoked(loginId));

    const take = (body: Uint8Array) => parts.downlink.receive(body);
    const consumer = await bus.consume(instance.instanceId, take, {
      lost: () => void recoverDeliveries(parts),
    });
    started.push(() => consumer.close());
    const deadLetters = await consumeDeadLetters(dependencies);
    started.push(() => deadLetters.close());
    const address = withPort(instance.address, sockets.port);
    await registration.enter({ ...instance, address }, () => void recoverRegistration(parts));
    started.push(() => registration.lease.release());
    started.push(() => closeParts(parts));
    sweep.start();
    timeouts.start();
    stage = "running";

    let stopped: Promise<void> | undefined;
    return {
      served: [],
      port: sockets.port,
      deliveries: (entry) => deliveryStates({ ...instance, channels: parts.channels }, entry),
      ready: () => stage === "running" && bus.connected() && rules.known,
      stop() {
        stopped ??= (async () => {
          stage = "stopping";
          sockets.stopListening();
          acknowledgements.drain();
          const idle = () => uplink.idle && acknowledgements.idle;
          await drain({ sessions, clock, config, idle });
          await started.stop().catch((err) => log.warn({ event: "stop_fault", err }));
        })();
        return stopped;
      },
    };
  });
}

/**
 * Creates the parts of the service and connects them. The sweep and the time-outs do not run yet.
 */
function createParts(options: {
  dependencies: ConnectDependencies;
  registration: Registration;
  sessions: Sessions;
  sockets: SocketServer;
}) {
  const { dependencies, registration, ...sockets } = options;
  const { sessions: auth, instance, ...external } = dependencies;
  const { config, log } = external;
  const lease = () => registration.lease;
  const shared = { ...external, ...sockets, policies: auth, logins: auth, registration, lease };
  const channels = new Channels({
    ...shared,
    lingerMs: config.leaveLingerMs,
    retryMs: JOIN_RETRY_MS,
  });
  const acknowledgements = new Acknowledgements(shared);
  const typing = new TypingSignals(shared);
  const uplink = new Uplinks(shared);
  const redelivery = new Redelivery({ ...shared, acknowledgements });
  const memberships = new Memberships({ ...shared, channels });
  const downlink = new Downlink({ ...shared, channels, memberships, redelivery });
  const rules = new DeviceRules({ ...shared, intervalMs: config.devicePolicyMs });
  const kicks = new Kicks(shared);
  const slots = createDeviceSlots({ ...shared, rules, kicks, instanceId: instance.instanceId });
  const lastSeen = new LastSeen(shared);
  const frameBudgets = new FrameBudgets(config);
  const opener = createSessionOpener({
    ...shared,
    slots,
    channels,
    memberships,
    lastSeen,
    frameBudgets,
  });
  const intake = new Intake({ ...shared, opener, uplink, acknowledgements, typing });
  const logResets = new LogResets(shared);
  const sweep = new Sweep({ ...shared, channels, memberships, logResets });
  const timeouts = new SessionTimeouts({ ...shared, channels, sweep, lastSeen });
  const lifecycle = new SessionLifecycle({ ...shared, acknowledgements, channels, opener });
  return {
    acknowledgements,
    channels,
    downlink,
    intake,
    kicks,
    lastSeen,
    lifecycle,
    log,
    logResets,
    memberships,
    rules,
    sessions: options.sessions,
    slots,
    sweep,
    timeouts,
    typing,
    uplink,
  };
}

/** Stops the timers of the parts, and flushes acknowledgements and reports. Idempotent. */
async function closeParts(parts: ReturnType<typeof createParts>): Promise<void> {
  const { acknowledgements, channels, kicks, lastSeen, logResets, memberships, slots } = parts;
  const { sweep, timeouts, typing, uplink } = parts;
  for (const part of [
    sweep,
    logResets,
    timeouts,
    memberships,
    channels,
    kicks,
    slots,
    uplink,
    typing,
  ])
    part.close();
  await Promise.all([acknowledgements.close(), lastSeen.close()]);
}

/** The address, with port 0 replaced by the port that the socket listens on. */
function withPort(address: string, port: number): string {
  return address.replace(/:0(?=\/|$)/, `:${port}`);
}
