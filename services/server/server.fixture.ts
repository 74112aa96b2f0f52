import assert from "node:assert/strict";
import { inspect } from "node:util";
import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { type Client, createClient, type Interceptor } from "@connectrpc/connect";
import type pg from "pg";
import { type ServerFrame, ServerFrameSchema } from "#gen/lucky/frame/v1/frame_pb.js";
import { GroupService } from "#gen/lucky/group/v1/group_pb.js";
import { type Envelope, EnvelopeSchema } from "#gen/lucky/internal/envelope/v1/envelope_pb.js";
import { IngressService } from "#gen/lucky/internal/ingress/v1/ingress_pb.js";
import { SessionService } from "#gen/lucky/internal/session/v1/session_pb.js";
import {
  type Entry,
  EntrySchema,
  MessageService,
  type SendRequest,
  SendRequestSchema,
  type SendResult,
  SendResultSchema,
} from "#gen/lucky/message/v1/message_pb.js";
import { PresenceService } from "#gen/lucky/presence/v1/presence_pb.js";
import type { Bus } from "#platform/bus/bus.ts";
import { createMemoryBus } from "#platform/bus/memory.ts";
import { defaultsOf } from "#platform/config/config.ts";
import { callerKey } from "#platform/identity/caller.ts";
import { createIds } from "#platform/ids.ts";
import { Metrics } from "#platform/metrics.ts";
import { createHub, createMemoryRegistry } from "#platform/registry/memory.ts";
import type { Instance, Registry } from "#platform/registry/registry.ts";
import { localTransport } from "#platform/rpc/calling/local.ts";
import { validateInterceptor } from "#platform/rpc/interceptors/validate.ts";
import { serve } from "#platform/rpc/served.ts";
import { HandClock } from "../../test/clock.ts";
import { quiet } from "../../test/postgres.ts";
import { type ServerConfig, serverConfig } from "./config.ts";
import { type Server, startServer } from "./service.ts";

/** User ids from here on do not exist. */
export const UNKNOWN_USER_ID = "900000";

const workers = new WeakMap<pg.Pool, number>();

/** What can run something at its end. */
interface Ending {
  after(close: () => Promise<void>): void;
}

/** One server, as its callers see it. */
export interface Running {
  readonly server: Server;
  readonly ingress: Client<typeof IngressService>;
  readonly metrics: Metrics;
  messages(userId: string): Client<typeof MessageService>;
  groups(userId: string): Client<typeof GroupService>;
  presence(userId: string): Client<typeof PresenceService>;
  /** Appends a batch of sends; one result each. */
  append(...sends: Outgoing[]): Promise<SendResult[]>;
}

/** A send of a user. */
export interface Outgoing {
  readonly from: string;
  readonly to: SendRequest["target"];
  readonly key: string;
  readonly text: string;
  readonly sessionId?: string;
}

/** Servers on one database, one bus and one registry, with time moved by hand. */
export class Stand {
  readonly clock = new HandClock();
  readonly bus: Bus;
  /** While set, the bus takes nothing. "silent": it says that it could. */
  busOutage: "no" | "known" | "silent" = "no";
  /** Auth says which users exist only after this. */
  authAnswers: Promise<void> = Promise.resolve();
  /** Queues that take nothing. */
  readonly stuck = new Set<string>();
  /** While set, the registry says nothing but which instances a server had asked for before. */
  registryDown = false;
  readonly pool: pg.Pool;
  /** As the instances have it. */
  readonly registry: Registry;
  readonly #open: () => Registry;
  readonly #t: Ending;
  /** `open` opens the registry of one more process; by default one in memory. */
  constructor(t: Ending, pool: pg.Pool, open?: () => Registry) {
    const { clock } = this;
    const hub = createHub();
    this.#t = t;
    this.pool = pool;
    this.#open = open ?? (() => createMemoryRegistry({ clock, hub }));
    this.registry = this.#open();
    const bus = createMemoryBus();
    this.bus = {
      ...bus,
      ready: () => this.busOutage !== "known" && bus.ready(),
      publish: async (queue, body, signal) => {
        if (this.busOutage !== "no") throw new Error("the bus is away");
        if (this.stuck.has(queue)) throw new Error("the queue is stuck");
        return bus.publish(queue, body, signal);
      },
    };
    t.after(() => bus.close());
    t.after(() => this.registry.close());
  }

  /** Starts a server; every one has its own caches. */
  async server(overrides: Partial<ServerConfig> = {}): Promise<Running> {
    const { clock, pool, bus } = this;
    // Stands on one database follow each other with the same clock: never the same worker number.
    const worker = workers.get(pool) ?? 0;
    workers.set(pool, worker + 1);
    const auth = serve(SessionService, {
      listRevocations: () => ({}),
      recordLastSeen: () => ({}),
      getDevicePolicy: () => ({}),
      checkUsers: async ({ userIds }) => {
        await this.authAnswers;
        return { userIds: userIds.filter((id) => Number(id) < Number(UNKNOWN_USER_ID)) };
      },
    });
    const metrics = new Metrics();
    const registry = this.#seat();
    const server = await startServer({
      config: { ...defaultsOf(serverConfig), ...overrides },
      log: quiet,
      metrics,
      pool,
      bus,
      registry,
      sessions: createClient(SessionService, localTransport([auth], [])),
      ids: createIds({ worker: () => worker, clock }),
      clock,
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
      localTransport(server.served, [as(userId), validateInterceptor()]);
    const ingress = createClient(IngressService, localTransport(server.served, []));
    return {
      server,
      ingress,
      metrics,
      messages: (userId) => createClient(MessageService, transport(userId)),
      groups: (userId) => createClient(GroupService, transport(userId)),
      presence: (userId) => createClient(PresenceService, transport(userId)),
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

  /** The registry as one process has it, with what it was told last. */
  #seat(): Registry {
    const registry = this.#open();
    const known = new Map<string, readonly Instance[]>();
    return {
      ...registry,
      instances: async (service) => {
        if (!this.registryDown) known.set(service, await registry.instances(service));
        return known.get(service) ?? [];
      },
      locate: async (channels) => {
        if (this.registryDown) throw new Error("the registry is away");
        return registry.locate(channels);
      },
    };
  }

  /** An instance of connect that hears channels and keeps what it gets. */
  async instance(instanceId: string, channels: string[]): Promise<Subscriber> {
    const lease = await this.registry.announce(
      { instanceId, service: "connect", address: "", publicAddress: "", load: 0 },
      () => void lease.join(channels),
    );
    await lease.join(channels);
    const ear = new Subscriber();
    const consumer = await this.bus.consume(instanceId, async (body) => ear.take(body));
    this.#t.after(() => consumer.close());
    return ear;
  }
}

/** What came over the bus to one instance. */
export class Subscriber {
  readonly envelopes: Envelope[] = [];
  readonly #waiting = new Set<() => void>();

  take(body: Uint8Array): void {
    this.envelopes.push(fromBinary(EnvelopeSchema, body));
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
  }

  get entries(): Entry[] {
    return this.envelopes.flatMap(({ deliveries }) =>
      deliveries.flatMap(({ entries }) => entries.map((bytes) => fromBinary(EntrySchema, bytes))),
    );
  }

  get frames(): ServerFrame[] {
    return this.envelopes.flatMap(({ signals }) =>
      signals.map(({ frame }) => fromBinary(ServerFrameSchema, frame)),
    );
  }

  get texts(): string[] {
    return this.entries.map(textOf);
  }

  async until(holds: (ear: Subscriber) => boolean): Promise<void> {
    while (!holds(this)) await new Promise<void>((resolve) => this.#waiting.add(resolve));
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
export function encode({ to, key, text }: Omit<Outgoing, "from">): Uint8Array {
  return request({ target: to, clientMessageId: key, content: contentOf(text) });
}

export function request(init: MessageInitShape<typeof SendRequestSchema>): Uint8Array {
  return toBinary(SendRequestSchema, create(SendRequestSchema, init));
}

export const contentOf = (text: string) => ({ kind: { case: "text", value: { text } } }) as const;

export function textOf(entry: Entry): string {
  const kind = entry.content?.kind;
  return kind?.case === "text" ? kind.value.text : `(${kind?.case})`;
}

/** Where an accepted send is; fails the test for a refused one. */
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

/** Why a send was refused; fails the test for an accepted one. */
export function refused(result: SendResult | undefined) {
  assert.equal(result?.outcome.case, "refused");
  const value = result!.outcome.value as { error?: { reason: number } };
  return value.error?.reason;
}

/** Moves the time on until the outbox is empty. */
export async function untilOutboxEmpty({ clock, pool }: Stand): Promise<void> {
  while ((await outboxRows(pool)) > 0) clock.advance(50);
}

/** Number of rows in the outbox. */
export async function outboxRows(pool: pg.Pool): Promise<number> {
  const { rows } = await pool.query("SELECT count(*)::int AS count FROM im.outbox");
  return rows[0].count;
}

/** A sequence of numbers from 0 to 1 that is the same for the same seed. */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
