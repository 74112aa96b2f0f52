import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
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
import { fail } from "#platform/errors.ts";
import { type TestIssuer, testIssuer } from "#platform/identity/tokens.fixture.ts";
import { createLog } from "#platform/log.ts";
import { Metrics } from "#platform/metrics.ts";
import { createHub, createMemoryRegistry, type Hub } from "#platform/registry/memory.ts";
import type { Registry } from "#platform/registry/registry.ts";
import { localTransport } from "#platform/rpc/calling/local.ts";
import type { MethodTable } from "#platform/rpc/calling/method-table.ts";
import { connectConfig } from "../services/connect/config.ts";
import { type ConnectConfig, startConnect } from "../services/connect/service.ts";
import { MemoryIngress } from "./memory-ingress.ts";
import { RawDevice } from "./raw.ts";

export interface StandOptions {
  config?: Partial<ConnectConfig>;
  clock?: Clock;
  methods?: MethodTable;
  /** The device policy, asked for each time; one phone and desktop, many others when absent. */
  rules?: () => readonly MessageInitShape<typeof DeviceRuleSchema>[];
  instanceId?: string;
  /** Another stand to share bus, registry, log and issuer with. */
  with?: Stand;
}

/** A connect instance with everything around it in memory. */
export interface Stand {
  readonly address: string;
  readonly port: number;
  readonly ingress: MemoryIngress;
  readonly issuer: TestIssuer;
  readonly metrics: Metrics;
  readonly bus: Bus;
  readonly registry: Registry;
  readonly hub: Hub;
  /** Lines of the log with an event. */
  readonly events: { event: string; [key: string]: unknown }[];
  /** What auth was told of logins online, call by call. */
  readonly seenBatches: { readonly loginId: string; readonly seenAtMs: number }[][];
  /** Makes the registry forget everything. */
  forgetInstance(): Promise<void>;
  /** Ends a login as auth would tell it. */
  revoke(loginId: string): void;
  /** A device with an open session. */
  device(userId: string, deviceId?: string, deviceClass?: DeviceClass): Promise<RawDevice>;
  ready(): boolean;
  stop(): Promise<void>;
}

interface Ending {
  after(close: () => Promise<void>): void;
}

const quick: Partial<ConnectConfig> = {
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
const usualRules = [
  { deviceClass: DeviceClass.MOBILE, maxDevices: 1, excess: EXCESS },
  { deviceClass: DeviceClass.DESKTOP, maxDevices: 1, excess: EXCESS },
  { deviceClass: DeviceClass.WEB, maxDevices: 100, excess: EXCESS },
  { deviceClass: DeviceClass.BOT, maxDevices: 10, excess: EXCESS },
];

export async function startStand(t: Ending, options: StandOptions = {}): Promise<Stand> {
  const clock = options.clock ?? systemClock;
  const bus = options.with?.bus ?? createMemoryBus();
  const hub = options.with?.hub ?? createHub();
  const registry = options.with?.registry ?? createMemoryRegistry({ clock, hub });
  const ingress = options.with?.ingress ?? new MemoryIngress({ bus, registry, clock });
  const issuer = options.with?.issuer ?? (await testIssuer(clock));
  const metrics = new Metrics();
  const listeners: ((loginId: string) => void)[] = [];
  const seenBatches: Stand["seenBatches"] = [];
  const events: Stand["events"] = [];
  const log = createLog({
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
  const connect = await startConnect({
    config: { ...defaultsOf(connectConfig), ...quick, ...options.config },
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
    ingress: createClient(IngressService, localTransport([ingress.served()], [])),
    sessions: {
      getDevicePolicy: async () =>
        create(GetDevicePolicyResponseSchema, { rules: [...(options.rules?.() ?? usualRules)] }),
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
    meshSecret: "a mesh secret of tests",
    instance: {
      instanceId: options.instanceId ?? "connect-0",
      address: "http://127.0.0.1:0",
      publicAddress: "",
    },
  });
  t.after(() => connect.stop());
  const address = `http://127.0.0.1:${connect.port}`;
  return {
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
    stop: connect.stop,
  };
}
