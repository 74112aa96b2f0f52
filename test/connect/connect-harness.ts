import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { type Client, createClient } from "@connectrpc/connect";
import { DeviceClass, DeviceExcess, type DeviceRuleSchema } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { IngressService } from "#gen/lucky/internal/ingress/v1/ingress_pb.js";
import {
  GetDevicePolicyResponseSchema,
  RecordLastSeenResponseSchema,
} from "#gen/lucky/internal/session/v1/session_pb.js";
import type { Bus } from "#platform/bus/bus.ts";
import { createMemoryBus } from "#platform/bus/memory.ts";
import { type Clock, systemClock } from "#platform/clock.ts";
import { defaultsOf } from "#platform/config/config.ts";
import type { ConnectionBounds } from "#platform/connections/connection-bounds.ts";
import { fail } from "#platform/errors.ts";
import { type TestIssuer, testIssuer } from "#platform/identity/tokens.fixture.ts";
import { createLog } from "#platform/log.ts";
import type { MeshTlsFiles } from "#platform/mesh-tls.ts";
import { Metrics } from "#platform/metrics.ts";
import type { DescribeDeliveries } from "#platform/process/process-service.ts";
import { createHub, createMemoryRegistry, type Hub } from "#platform/registry/memory.ts";
import type { Registry } from "#platform/registry/registry.ts";
import { localTransport } from "#platform/rpc/calling/local.ts";
import type { MethodTable } from "#platform/rpc/calling/method-table.ts";
import { connectConfig } from "../../services/connect/config.ts";
import { type ConnectConfig, startConnect } from "../../services/connect/service.ts";
import { RawDevice } from "../devices/raw-device.ts";
import { MemoryIngress } from "./memory-ingress.ts";

export interface HarnessOptions {
  config?: Partial<ConnectConfig>;
  clock?: Clock;
  methods?: MethodTable;
  /**
   * The device policy, read at each poll. Absent: one mobile and one desktop, many other devices.
   */
  rules?: () => readonly MessageInitShape<typeof DeviceRuleSchema>[];
  instanceId?: string;
  /** Files for TLS; plain text when absent. */
  tls?: MeshTlsFiles;
  /** Bounds of the connections; none when absent. */
  bounds?: ConnectionBounds;
  /** Parts shared with another harness: bus, registry, conversation log, token issuer. */
  with?: Partial<Pick<ConnectHarness, "bus" | "hub" | "registry" | "ingress" | "issuer">>;
  /** Client of a server, instead of the conversation log in memory. */
  server?: Client<typeof IngressService>;
}

/** A connect instance whose dependencies are all in memory. */
export interface ConnectHarness {
  /** The settings in use: a test changes live ones in place. */
  readonly config: ConnectConfig;
  readonly address: string;
  readonly port: number;
  readonly ingress: MemoryIngress;
  readonly issuer: TestIssuer;
  readonly metrics: Metrics;
  readonly bus: Bus;
  readonly registry: Registry;
  readonly hub: Hub;
  /** Lines that the instance logged. */
  readonly events: { event: string; [key: string]: unknown }[];
  /** Reports of online logins that auth received, one list per call. */
  readonly seenBatches: { readonly loginId: string; readonly seenAtMs: number }[][];
  /** Makes the registry lose all instances and claims. */
  forgetInstance(): Promise<void>;
  /** Revokes a login, as auth would announce it. */
  revoke(loginId: string): void;
  /** Opens a session and returns its device. */
  device(userId: string, deviceId?: string, deviceClass?: DeviceClass): Promise<RawDevice>;
  ready(): boolean;
  /** Describes the deliveries of an entry to the sessions of the instance. */
  readonly deliveries: DescribeDeliveries;
  stop(): Promise<void>;
}

interface TestScope {
  after(close: () => Promise<void>): void;
}

const QUICK: Partial<ConnectConfig> = {
  host: "127.0.0.1",
  port: 0,
  acknowledgeLingerMs: 0,
  acknowledgeGroupLingerMs: 0,
  uplinkLingerMs: 0,
  drainMs: 0,
  leaveLingerMs: 0,
  lastSeenLingerMs: 0,
};

const EXCESS = DeviceExcess.REPLACE_OLDEST;
const USUAL_RULES = [
  { deviceClass: DeviceClass.MOBILE, maxDevices: 1, excess: EXCESS },
  { deviceClass: DeviceClass.DESKTOP, maxDevices: 1, excess: EXCESS },
  { deviceClass: DeviceClass.WEB, maxDevices: 100, excess: EXCESS },
  { deviceClass: DeviceClass.BOT, maxDevices: 10, excess: EXCESS },
];

/** Starts a connect instance on a free port. It stops when the test ends. */
export async function startConnectHarness(
  t: TestScope,
  options: HarnessOptions = {},
): Promise<ConnectHarness> {
  const clock = options.clock ?? systemClock;
  const bus = options.with?.bus ?? createMemoryBus();
  const hub = options.with?.hub ?? createHub();
  const registry = options.with?.registry ?? createMemoryRegistry({ clock, hub });
  const ingress = options.with?.ingress ?? new MemoryIngress({ bus, registry, clock });
  const issuer = options.with?.issuer ?? (await testIssuer(clock));
  const metrics = new Metrics();
  const listeners: ((loginId: string) => void)[] = [];
  const seenBatches: ConnectHarness["seenBatches"] = [];
  const events: ConnectHarness["events"] = [];
  const log = createLog({
    clock,
    service: "connect",
    instanceId: "test",
    level: "info",
    stream: {
      write: (line: string) => {
        events.push(JSON.parse(line));
        if (process.env.LUCKY_TEST_LOG) process.stderr.write(line);
      },
    },
  });
  const config = { ...defaultsOf(connectConfig), ...QUICK, ...options.config };
  const connect = await startConnect({
    config,
    host: "127.0.0.1",
    log,
    metrics,
    bus,
    registry,
    verifier: issuer.verifier,
    revocations: {
      revoked: (loginId) => issuer.ended.has(loginId),
      keyState: (keyId) => (issuer.withdrawn.has(keyId) ? "withdrawn" : "published"),
      onRevoked: (listener) => void listeners.push(listener),
      learn(loginId) {
        issuer.ended.add(loginId);
        for (const listener of listeners) listener(loginId);
      },
      close() {},
    },
    ingress: options.server ?? createClient(IngressService, localTransport([ingress.served()], [])),
    sessions: {
      getDevicePolicy: async () =>
        create(GetDevicePolicyResponseSchema, { rules: [...(options.rules?.() ?? USUAL_RULES)] }),
      async recordLastSeen({ seen = [] }) {
        seenBatches.push(
          seen.map(({ loginId = "", seenAtMs = 0n }) => ({ loginId, seenAtMs: Number(seenAtMs) })),
        );
        return create(RecordLastSeenResponseSchema);
      },
    },
    methods: options.methods ?? {
      call: async () => {
        throw fail(ErrorReason.METHOD_NOT_FOUND, "no such method");
      },
    },
    clock,
    gatewaySecrets: ["a secret of tests"],
    tls: options.tls,
    bounds: options.bounds,
    instance: {
      instanceId: options.instanceId ?? "connect-0",
      address: "http://127.0.0.1:0",
      publicAddress: "",
    },
  });
  t.after(() => connect.stop());
  const address = `http://127.0.0.1:${connect.port}`;
  return {
    config,
    address,
    port: connect.port,
    ingress,
    issuer,
    metrics,
    bus,
    registry,
    hub,
    events,
    seenBatches,
    async forgetInstance() {
      for (const part of [hub.instances, hub.claims]) part.clear();
    },
    revoke(loginId) {
      issuer.ended.add(loginId);
      for (const listener of listeners) listener(loginId);
    },
    async device(userId, deviceId = `d${userId}`, deviceClass = DeviceClass.WEB) {
      const sid = `l${userId}-${deviceId}`;
      const token = await issuer.token({ sub: userId, did: deviceId, sid, dcl: deviceClass });
      return RawDevice.hello(address, token);
    },
    ready: connect.ready,
    deliveries: connect.deliveries,
    stop: connect.stop,
  };
}
