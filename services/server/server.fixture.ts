import assert from "node:assert/strict";
import { inspect } from "node:util";
import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { type Client, createClient, type Interceptor } from "@connectrpc/connect";
import type pg from "pg";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { GroupService } from "#gen/lucky/group/v1/group_pb.js";
import { IngressService } from "#gen/lucky/internal/ingress/v1/ingress_pb.js";
import {
  type DescribeDeliveriesRequest,
  ProcessService,
} from "#gen/lucky/internal/operations/v1/process_pb.js";
import {
  type RecordAuditRequest,
  SessionService,
} from "#gen/lucky/internal/session/v1/session_pb.js";
import { ChangeService } from "#gen/lucky/message/v1/change_pb.js";
import { ConversationService } from "#gen/lucky/message/v1/conversation_pb.js";
import { HistoryService } from "#gen/lucky/message/v1/history_pb.js";
import {
  MessageService,
  type SendRequest,
  SendRequestSchema,
  type SendResult,
  SendResultSchema,
} from "#gen/lucky/message/v1/message_pb.js";
import { OperationsService } from "#gen/lucky/operations/v1/operations_pb.js";
import { PresenceService } from "#gen/lucky/presence/v1/presence_pb.js";
import type { Bus } from "#platform/bus/bus.ts";
import { createMemoryBus } from "#platform/bus/memory.ts";
import type { Clock } from "#platform/clock.ts";
import { defaultsOf } from "#platform/config/config.ts";
import { fail } from "#platform/errors.ts";
import { callerKey } from "#platform/identity/caller.ts";
import { allTimesOf } from "#platform/ids.fixture.ts";
import { createIds } from "#platform/ids.ts";
import { Metrics } from "#platform/metrics.ts";
import { createHub, createMemoryRegistry } from "#platform/registry/memory.ts";
import type { Instance, Registry } from "#platform/registry/registry.ts";
import { localTransport } from "#platform/rpc/calling/local.ts";
import { validateInterceptor } from "#platform/rpc/interceptors/validate.ts";
import { withoutDeadline } from "#platform/rpc/rpc.fixture.ts";
import { serve } from "#platform/rpc/served.ts";
import { quiet } from "../../test/backends/postgres.ts";
import { ManualClock } from "../../test/clock/manual-clock.ts";
import { type ServerConfig, serverConfig } from "./config.ts";
import { TestAccounts } from "./conversations/accounts.fixture.ts";
import { type Server, type ServerDependencies, startServer } from "./service.ts";
import { Subscriber } from "./subscriber.fixture.ts";

/** The first user id that does not exist; greater ids do not exist either. */
export const UNKNOWN_USER_ID = "900000";

/** Small caches: a server reserves the memory of its caches at its start. */
const DEFAULTS: ServerConfig = {
  ...defaultsOf(serverConfig),
  cachedMemberships: 1_000,
  cachedUsers: 1_000,
  // The clock of a test may step while a statement runs.
  databaseAnswerMs: 3_600_000,
};

const workers = new WeakMap<pg.Pool, number>();

/** Shared by all servers: it compiles the constraints of each message once. */
const validate = validateInterceptor();

/** Owner of the clean-up, such as a test context. */
interface CleanupScope {
  after(close: () => Promise<void>): void;
}

/** A running server, with its clients. */
export interface RunningServer {
  readonly server: Server;
  readonly ingress: Client<typeof IngressService>;
  readonly metrics: Metrics;
  messages(userId: string): Client<typeof MessageService>;
  conversations(userId: string): Client<typeof ConversationService>;
  changes(userId: string): Client<typeof ChangeService>;
  history(userId: string): Client<typeof HistoryService>;
  groups(userId: string): Client<typeof GroupService>;
  presence(userId: string): Client<typeof PresenceService>;
  operations(userId: string): Client<typeof OperationsService>;
  /** Appends a batch of sends. Returns one result each, in their order. */
  append(...sends: Outgoing[]): Promise<SendResult[]>;
}

/** A text message to send. */
export interface Outgoing {
  readonly from: string;
  readonly to: SendRequest["target"];
  readonly key: string;
  readonly text: string;
  readonly sessionId?: string;
  /** Users whom it mentions. */
  readonly mentions?: readonly string[];
}

/** Test bed: servers with a shared database, bus and registry, and a manual clock. */
export class Stand {
  readonly clock = new ManualClock();
  readonly bus: Bus;
  /** Outage of the bus: publishing fails. "known": `ready()` is false; "silent": it stays true. */
  busOutage: "none" | "known" | "silent" = "none";
  /** Auth answers only after this promise has resolved. */
  authAnswers: Promise<void> = Promise.resolve();
  /** The accounts of auth. */
  readonly accounts = new TestAccounts(Number(UNKNOWN_USER_ID));
  /** Auth refuses entries of the audit log: the caller is no longer an operator. */
  refusesAudit = false;
  /** Entries of the audit log that auth received. */
  readonly audit: RecordAuditRequest[] = [];
  /** Questions for the connect instances. */
  readonly asked: DescribeDeliveriesRequest[] = [];
  /** Queues that reject every message. */
  readonly failingQueues = new Set<string>();
  /** Outage of the registry: a server gets its cached list of instances, and no channels. */
  registryDown = false;
  readonly pool: pg.Pool;
  /** The databases of the log; `pool` is the first. */
  readonly pools: readonly pg.Pool[];
  /** The registry of the instances. */
  readonly registry: Registry;
  readonly #openRegistry: () => Registry;
  /** A connect instance, asked by servers. */
  readonly #process = serve(ProcessService, {
    describeSettings: () => ({}),
    describeDeliveries: (question) => {
      this.asked.push(question);
      return { deliveries: { instanceId: "connect-0", sessionCount: 1 } };
    },
  });
  readonly #t: CleanupScope;
  /** `open` opens the registry of one process, with the clock of the stand; in memory by default. */
  constructor(
    t: CleanupScope,
    pools: pg.Pool | readonly pg.Pool[],
    open?: (clock: Clock) => Registry,
  ) {
    const { clock } = this;
    const hub = createHub();
    this.#t = t;
    this.pools = Array.isArray(pools) ? pools : [pools as pg.Pool];
    this.pool = this.pools[0]!;
    this.#openRegistry = () => open?.(clock) ?? createMemoryRegistry({ clock, hub });
    this.registry = this.#openRegistry();
    const bus = createMemoryBus();
    this.bus = {
      ...bus,
      ready: () => this.busOutage !== "known" && bus.ready(),
      publish: async (queue, body, signal) => {
        if (this.busOutage !== "none") throw new Error("the bus is unreachable");
        if (this.failingQueues.has(queue)) throw new Error("the queue fails");
        return bus.publish(queue, body, signal);
      },
    };
    t.after(() => bus.close());
    t.after(() => this.registry.close());
  }

  /** Starts a server with its own caches. `parts` replaces what it shares with the other servers. */
  async server(
    overrides: Partial<ServerConfig> = {},
    parts: Partial<Pick<ServerDependencies, "clock" | "pools" | "bus" | "log" | "observe">> = {},
  ): Promise<RunningServer> {
    const { clock = this.clock, pools = this.pools, bus = this.bus, log = quiet, observe } = parts;
    // The clocks of all test beds on one database start at the same time, so each server needs its
    // own worker number.
    const worker = workers.get(this.pool) ?? 0;
    workers.set(this.pool, worker + 1);
    const auth = serve(SessionService, {
      listRevocations: () => ({}),
      recordLastSeen: () => ({}),
      recordAudit: (entry) => {
        if (this.refusesAudit) throw fail(ErrorReason.PERMISSION_DENIED, "no operator");
        this.audit.push(entry);
        return {};
      },
      getDevicePolicy: () => ({}),
      checkUsers: async ({ userIds }) => {
        const answer = this.accounts.check(userIds);
        await this.authAnswers;
        return answer;
      },
      listAccountChanges: ({ cursor }) => this.accounts.changesSince(cursor),
    });
    const sessions = createClient(SessionService, localTransport([auth], []));
    const metrics = new Metrics();
    const registry = this.#processRegistry();
    const server = await startServer({
      config: { ...DEFAULTS, ...overrides },
      log,
      metrics,
      pools,
      observe,
      bus,
      registry,
      // Deadlines are real time, which a slow test machine exceeds: a test delays auth by promises.
      sessions: { ...sessions, checkUsers: (request) => sessions.checkUsers(request) },
      ids: createIds({ window: allTimesOf(worker), clock }),
      clock,
      processes: {
        of: async (service) => [
          {
            service,
            instanceId: "connect-0",
            client: createClient(ProcessService, localTransport([this.#process], [])),
          },
          { service, instanceId: "connect-old", client: undefined },
        ],
      },
    });
    this.#t.after(() => server.stop());
    this.#t.after(() => registry.close());
    const as = (userId: string): Interceptor => {
      return (next) => (request) => {
        request.contextValues.set(callerKey, {
          kind: "user",
          userId,
          deviceId: "",
          deviceClass: 1,
          loginId: "",
          role: "user",
          keyId: "",
          expiresAtMs: 0,
          token: "",
        });
        return next(request);
      };
    };
    const transport = (userId: string) =>
      withoutDeadline(localTransport(server.served, [as(userId), validate]));
    const ingress = createClient(
      IngressService,
      withoutDeadline(localTransport(server.served, [])),
    );
    return {
      server,
      ingress,
      metrics,
      messages: (userId) => createClient(MessageService, transport(userId)),
      conversations: (userId) => createClient(ConversationService, transport(userId)),
      changes: (userId) => createClient(ChangeService, transport(userId)),
      history: (userId) => createClient(HistoryService, transport(userId)),
      groups: (userId) => createClient(GroupService, transport(userId)),
      presence: (userId) => createClient(PresenceService, transport(userId)),
      operations: (userId) => createClient(OperationsService, transport(userId)),
      async append(...sends) {
        const uplinks = sends.map((send) => ({
          senderId: send.from,
          sessionId: send.sessionId ?? "",
          send: encode(send),
        }));
        const { results } = await ingress.appendBatch({ uplinks });
        return results.map((bytes) => fromBinary(SendResultSchema, bytes));
      },
    };
  }

  /** Opens the registry of one process, with a cache of its last list of instances. */
  #processRegistry(): Registry {
    const registry = this.#openRegistry();
    const known = new Map<string, readonly Instance[]>();
    return {
      ...registry,
      instances: async (service) => {
        if (!this.registryDown) known.set(service, await registry.instances(service));
        return known.get(service) ?? [];
      },
      locate: async (channels) => {
        if (this.registryDown) throw new Error("the registry is unreachable");
        return registry.locate(channels);
      },
    };
  }

  /** Starts an instance of connect that hears channels and records its envelopes. */
  async instance(instanceId: string, channels: string[]): Promise<Subscriber> {
    const lease = await this.registry.announce(
      { instanceId, service: "connect", address: "", publicAddress: "", load: 0 },
      () => void lease.join(channels),
    );
    await lease.join(channels);
    const subscriber = new Subscriber();
    const consumer = await this.bus.consume(instanceId, async (body) => subscriber.take(body));
    this.#t.after(() => consumer.close());
    return subscriber;
  }
}

export const toUser = (value: string): SendRequest["target"] => ({ case: "userId", value });
export const toConversation = (value: string): SendRequest["target"] => ({
  case: "conversationId",
  value,
});

/** A direct message; its text is its key. */
export const say = (from: string, to: string, key: string, sessionId = ""): Outgoing => ({
  from,
  to: toUser(to),
  key,
  text: key,
  sessionId,
});

/** A text message as an encoded SendRequest. */
export function encode({ to, key, text, mentions = [] }: Omit<Outgoing, "from">): Uint8Array {
  const mentionedUserIds = [...mentions];
  return request({ target: to, clientMessageId: key, content: contentOf(text), mentionedUserIds });
}

export function request(init: MessageInitShape<typeof SendRequestSchema>): Uint8Array {
  return toBinary(SendRequestSchema, create(SendRequestSchema, init));
}

export const contentOf = (text: string) => ({ kind: { case: "text", value: { text } } }) as const;

/** Position of an accepted send; fails the test for a refused one. */
export function accepted(result: SendResult | undefined) {
  assert.equal(result?.outcome.case, "accepted", inspect(result?.outcome.value));
  const { conversationId, sequence, messageId, acceptedAtMs } = result!.outcome.value as {
    conversationId: string;
    sequence: bigint;
    messageId: string;
    acceptedAtMs: bigint;
  };
  return { conversationId, sequence: Number(sequence), messageId, acceptedAtMs };
}

/** Reason of a refused send; fails the test for an accepted one. */
export function refused(result: SendResult | undefined) {
  assert.equal(result?.outcome.case, "refused");
  const value = result!.outcome.value as { error?: { reason: number } };
  return value.error?.reason;
}

/** Advances the clock until the outbox is empty. */
export async function untilOutboxEmpty({ clock, pool }: Stand): Promise<void> {
  while ((await outboxRows(pool)) > 0) clock.advance(50);
}

/** Number of rows in the outbox. */
export async function outboxRows(pool: pg.Pool): Promise<number> {
  const { rows } = await pool.query("SELECT count(*)::int AS count FROM im.outbox");
  return rows[0].count;
}
