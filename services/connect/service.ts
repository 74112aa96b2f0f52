import type { Client } from "@connectrpc/connect";
import { CloseCode } from "#gen/lucky/frame/v1/frame_pb.js";
import type { IngressService } from "#gen/lucky/internal/ingress/v1/ingress_pb.js";
import type { SessionService } from "#gen/lucky/internal/session/v1/session_pb.js";
import type { Bus } from "#platform/bus/bus.ts";
import type { Clock } from "#platform/clock.ts";
import type { ConfigOf } from "#platform/config/config.ts";
import { createPeerProof } from "#platform/identity/peer-proof.ts";
import type { Revocations } from "#platform/identity/revocations.ts";
import type { TokenVerifier } from "#platform/identity/tokens.ts";
import type { Log } from "#platform/log.ts";
import type { Metrics } from "#platform/metrics.ts";
import type { Lease, Registry } from "#platform/registry/registry.ts";
import type { MethodTable } from "#platform/rpc/calling/method-table.ts";
import type { RunningService } from "#platform/rpc/served.ts";
import type { connectConfig } from "./config.ts";
import { buryDeadLetters } from "./downlink/dead-letters.ts";
import { Downlink } from "./downlink/downlink.ts";
import { Redelivery } from "./downlink/redelivery.ts";
import { Sweep } from "./downlink/sweep.ts";
import { Claims } from "./opening/claims.ts";
import { DeviceRules } from "./opening/device-rules.ts";
import { Greeter, textOf } from "./opening/hello.ts";
import { LastSeen } from "./opening/last-seen.ts";
import { Session } from "./socket/session.ts";
import { Sessions } from "./socket/sessions.ts";
import { listenSockets, type Socket } from "./socket/socket.ts";
import { Channels } from "./subscriptions/channels.ts";
import { Memberships } from "./subscriptions/memberships.ts";
import { Acknowledgements } from "./uplink/acknowledge.ts";
import { Intake } from "./uplink/intake.ts";
import { Calls } from "./uplink/rpc.ts";
import { TypingSignals } from "./uplink/typing.ts";
import { Uplinks } from "./uplink/uplink.ts";
import { drain } from "./watch/drain.ts";
import { Watch } from "./watch/watch.ts";

export type ConnectConfig = ConfigOf<typeof connectConfig>;

export interface ConnectDependencies {
  config: ConnectConfig;
  log: Log;
  metrics: Metrics;
  bus: Bus;
  registry: Registry;
  verifier: TokenVerifier;
  revocations: Revocations;
  ingress: Client<typeof IngressService>;
  /** Tells the device policy in force; is told which logins are online. */
  sessions: Pick<Client<typeof SessionService>, "getDevicePolicy" | "recordLastSeen">;
  /** What devices may call over their sockets. */
  methods: MethodTable;
  clock: Clock;
  /** What gateways prove with where a socket comes from; empty: none is believed. */
  meshSecret: string;
  /** `address`: where gateways reach the sockets, "http://host:port"; port 0 is replaced. */
  instance: { instanceId: string; address: string; publicAddress: string };
}

const JOIN_RETRY_MS = 1_000;

/**
 * Starts the connect service: listens for WebSockets, takes the instance's queue from the bus and
 * enters the registry, in this order, so that nothing is sent to what is not there yet.
 */
export async function startConnect(
  dependencies: ConnectDependencies,
): Promise<RunningService & { port: number }> {
  const { config, log, metrics, bus, clock, instance, registry, revocations } = dependencies;
  const stage: { current: "starting" | "running" | "stopping" } = { current: "starting" };
  const sessions = new Sessions();
  let entered: Lease | undefined;
  const lease = (): Lease => {
    if (!entered) throw new Error("the instance is not in the registry yet");
    return entered;
  };

  const sockets = await listenSockets({
    host: config.host,
    port: config.port,
    maxFrameBytes: config.maxFrameBytes,
    maxBackpressureBytes: config.maxBackpressureBytes,
    idleSeconds: Math.ceil((config.heartbeatIntervalMs * 4) / 1_000),
    proof: createPeerProof(dependencies.meshSecret),
    accepting: () => stage.current === "running" && sessions.size < config.maxSessions,
    events: {
      accept: (socket) => accept(socket),
      frame: (session, bytes) => intake.take(session, bytes),
      notBinary: (session) => session.end(CloseCode.PROTOCOL_ERROR, "frames are binary"),
      drained: (session) => watch.drained(session),
      dropped(session) {
        session.missedGroups = true;
        session.slowSinceMs ??= clock.now();
      },
      lost: (session) => session.cutOff(),
      closed: (session, code) => closed(session, code),
    },
    log,
  });

  const { sessions: auth, ...parts } = dependencies;
  const shared = { ...parts, policies: auth, logins: auth, sessions, sockets, lease };
  const channels = new Channels({
    ...shared,
    lingerMs: config.leaveLingerMs,
    retryMs: JOIN_RETRY_MS,
  });
  const acknowledgements = new Acknowledgements(shared);
  const typing = new TypingSignals(shared);
  const uplink = new Uplinks(shared);
  const calls = new Calls(shared);
  const redelivery = new Redelivery({ ...shared, acknowledgements });
  const memberships = new Memberships({ ...shared, channels });
  const downlink = new Downlink({ ...shared, channels, memberships, redelivery });
  const rules = new DeviceRules({ ...shared, intervalMs: config.devicePolicyMs });
  const claims = new Claims({ ...shared, rules, instanceId: instance.instanceId });
  const lastSeen = new LastSeen(shared);
  const greeter = new Greeter({ ...shared, claims, channels, memberships, lastSeen });
  const intake = new Intake({ ...shared, greeter, uplink, acknowledgements, typing, calls });
  const sweep = new Sweep({ ...shared, channels, memberships });
  const watch = new Watch({ ...shared, channels, sweep, lastSeen });
  const open = metrics.gauge("lucky_sessions", "Open sockets on this instance.");
  const ends = metrics.counter("lucky_session_end_total", "Ended sessions, by close code.", [
    "code",
  ]);

  function counted(): void {
    open.set(sessions.size);
    entered?.update(sessions.size);
  }

  function accept(socket: Socket): Session {
    const session = new Session({ ...config, socket, nowMs: clock.now() });
    sessions.add(session);
    counted();
    return session;
  }

  function closed(session: Session, code: number): void {
    const { caller } = session;
    const end = session.endWith(code);
    session.become({ kind: "closed", end });
    sessions.remove(session);
    greeter.closed(session, caller);
    counted();
    ends.inc({ code: CloseCode[end.code] ? String(end.code) : "device" });
    log.info({
      event: "session_end",
      sessionId: session.id,
      userId: caller?.userId,
      deviceId: caller?.deviceId,
      peer: session.socket.peer,
      code: end.code,
      reason: end.text,
      durationMs: clock.now() - session.openedAtMs,
    });
  }

  revocations.onRevoked((loginId) => {
    for (const session of sessions.ofLogin(loginId)) {
      session.end(CloseCode.TOKEN_REVOKED, textOf(CloseCode.TOKEN_REVOKED));
    }
  });

  async function afterLoss(): Promise<void> {
    log.warn({ event: "registry_forgot", sessions: sessions.size });
    await Promise.all([channels.rejoin(), claims.reclaim()]);
    // What changed while nobody could be told where the users are.
    for (const { caller } of sessions.all()) if (caller) memberships.check(caller.userId);
    await sweep.run();
  }

  const closing: (() => Promise<void> | void)[] = [() => sockets.close(), () => rules.close()];
  const close = async (): Promise<void> => {
    for (const step of closing.reverse()) {
      try {
        await step();
      } catch (error) {
        log.warn({ event: "stop_fault", err: error });
      }
    }
  };

  try {
    const consumer = await bus.consume(instance.instanceId, (body) => downlink.take(body));
    closing.push(() => consumer.close());
    const deadLetters = await buryDeadLetters({ bus, log, metrics });
    closing.push(() => deadLetters.close());
    entered = await registry.announce(
      {
        instanceId: instance.instanceId,
        service: "connect",
        address: withPort(instance.address, sockets.port),
        publicAddress: instance.publicAddress,
        load: 0,
      },
      () => void afterLoss(),
    );
    closing.push(() => lease().release());
  } catch (error) {
    await close();
    throw error;
  }
  closing.push(async () => {
    for (const part of [sweep, watch, memberships, channels, uplink, typing]) part.close();
    await Promise.all([acknowledgements.close(), lastSeen.close()]);
  });
  sweep.start();
  watch.start();
  stage.current = "running";

  let stopped: Promise<void> | undefined;
  return {
    served: [],
    port: sockets.port,
    ready: () => stage.current === "running" && bus.ready() && rules.known,
    stop() {
      stopped ??= (async () => {
        stage.current = "stopping";
        sockets.stopListening();
        const idle = () => uplink.idle && acknowledgements.idle;
        await drain({ sessions, clock, config, idle });
        await close();
      })();
      return stopped;
    },
  };
}

/** The address with the port that was really taken, where it says port 0. */
function withPort(address: string, port: number): string {
  return address.replace(/:0(?=\/|$)/, `:${port}`);
}
