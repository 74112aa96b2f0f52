import { create } from "@bufbuild/protobuf";
import type { Client } from "@connectrpc/connect";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { GroupService } from "#gen/lucky/group/v1/group_pb.js";
import { IngressService } from "#gen/lucky/internal/ingress/v1/ingress_pb.js";
import type { SessionService } from "#gen/lucky/internal/session/v1/session_pb.js";
import { TipSchema } from "#gen/lucky/message/v1/content_pb.js";
import { MessageService } from "#gen/lucky/message/v1/message_pb.js";
import { PresenceService, SendTypingResponseSchema } from "#gen/lucky/presence/v1/presence_pb.js";
import type { Bus } from "#platform/bus/bus.ts";
import { groupChannel } from "#platform/channels.ts";
import type { Clock } from "#platform/clock.ts";
import { fail } from "#platform/errors.ts";
import { userOf } from "#platform/identity/caller.ts";
import type { Ids } from "#platform/ids.ts";
import type { Log } from "#platform/log.ts";
import type { Metrics } from "#platform/metrics.ts";
import type { Registry } from "#platform/registry/registry.ts";
import { type RunningService, serve } from "#platform/rpc/served.ts";
import { History } from "./catch-up/history.ts";
import { Sweep } from "./catch-up/sweep.ts";
import { Sync } from "./catch-up/sync.ts";
import type { ServerConfig } from "./config.ts";
import { Conversations } from "./conversations/conversations.ts";
import { Directs } from "./conversations/directs.ts";
import { Users } from "./conversations/users.ts";
import { Compensation } from "./delivery/compensation.ts";
import { channelsFor, membershipsOf } from "./delivery/envelopes.ts";
import { Outbox } from "./delivery/outbox.ts";
import { Relay } from "./delivery/relay.ts";
import { groupService } from "./groups/group-service.ts";
import { Groups } from "./groups/groups.ts";
import { ingressService } from "./ingress.ts";
import { Database, type Pool } from "./log/database.ts";
import { messageService } from "./messages.ts";
import { ServerMetrics } from "./metrics.ts";
import { Sends } from "./sending/sends.ts";
import { Receipts } from "./signals/receipts.ts";
import { Typing } from "./signals/typing.ts";

export interface ServerDependencies {
  readonly config: ServerConfig;
  readonly log: Log;
  readonly metrics: Metrics;
  /** Connections that may read and write schema im; one a lane and a few more. */
  readonly pool: Pool;
  readonly bus: Bus;
  readonly registry: Registry;
  /** auth: which users exist. */
  readonly sessions: Client<typeof SessionService>;
  readonly ids: Ids;
  readonly clock: Clock;
}

export interface Server extends RunningService {
  /** Publishes again what was given up after too many attempts; an operator's decision. Returns how
   * many batches. Throws UNAVAILABLE. */
  replay(): Promise<number>;
}

/** How long after PostgreSQL last answered the service counts as ready. */
const READY_WINDOW_MS = 15_000;

/**
 * Starts the server: the log of conversations, and the way of its entries to the bus. Serves
 * MessageService, GroupService, PresenceService and IngressService. The caller closes what it gave.
 */
export async function startServer(d: ServerDependencies): Promise<Server> {
  const { config, log, bus, registry, ids, clock } = d;
  const { outboxDelayMs } = config;
  const metrics = new ServerMetrics(d.metrics);
  const db = new Database({ pool: d.pool, clock });
  const users = new Users({
    sessions: d.sessions,
    timeoutMs: config.checkUsersTimeoutMs,
    cached: config.cachedUsers,
    clock,
  });
  const conversations = new Conversations({ db, clock, memberships: config.cachedMemberships });
  const directs = new Directs({
    db,
    users,
    conversations,
    ids,
    clock,
    cached: config.cachedMemberships,
  });
  const outbox = new Outbox({
    db,
    clock,
    log,
    deleteLingerMs: config.outboxDeleteLingerMs,
  });
  const relay = new Relay({
    bus,
    registry,
    clock,
    log,
    metrics,
    publishTimeoutMs: config.publishTimeoutMs,
    maxBatches: config.relayBatches,
    maxBytes: config.relayBytes,
    maxSignals: config.relaySignals,
    confirmed: (outboxId) => outbox.confirmed(outboxId),
  });
  const compensation = new Compensation({
    db,
    bus,
    conversations,
    relay,
    outbox,
    clock,
    log,
    metrics,
    intervalMs: config.outboxIntervalMs,
    maxAttempts: config.outboxAttempts,
    maxBackoffMs: config.outboxMaxBackoffMs,
  });
  const sends = new Sends({
    db,
    conversations,
    directs,
    relay,
    ids,
    clock,
    log,
    metrics,
    outboxDelayMs,
    lanes: config.lanes,
    batchCount: config.laneBatchCount,
    batchBytes: config.laneBatchBytes,
    queueCount: config.laneQueueCount,
    queueBytes: config.laneQueueBytes,
    overloadedRetryMs: config.overloadedRetryMs,
  });
  const groups = new Groups({
    db,
    users,
    ids,
    clock,
    outboxDelayMs,
    maxMembers: config.maxGroupMembers,
    committed({ outboxId, conversationId, sequence, acceptedAtMs, body }, tip) {
      conversations.evict(conversationId);
      const memberships = membershipsOf(create(TipSchema, tip), conversationId);
      const delivery = {
        conversationId,
        channels: channelsFor([groupChannel(conversationId)], memberships),
        baseSequence: sequence - 1,
        entries: [{ body, acceptedAtMs, originSessionId: "" }],
        memberships,
      };
      relay.offer({ outboxId, bytes: body.length, deliveries: () => [delivery] });
    },
  });
  const receipts = new Receipts({ db, conversations, relay, clock, metrics });
  const typing = new Typing({ conversations, relay, metrics, log });
  const history = new History(db);
  const sync = new Sync({ db, clock, overlapMs: config.changeOverlapMs });
  const sweep = new Sweep({ db, clock, overlapMs: config.changeOverlapMs });

  let serving = true;
  const mustServe = () => {
    if (serving) return;
    throw fail(ErrorReason.UNAVAILABLE, "this instance stops", { retryAfterMs: 100 });
  };
  await relay.start();
  compensation.start();
  let stopping: Promise<void> | undefined;

  return {
    served: [
      serve(IngressService, ingressService({ sends, receipts, history, sweep, typing, mustServe })),
      serve(MessageService, messageService({ sends, receipts, history, sync, mustServe })),
      serve(GroupService, groupService({ groups, mustServe })),
      serve(PresenceService, {
        async sendTyping({ conversationId, typing: typingNow }, context) {
          mustServe();
          const { userId: senderId } = userOf(context);
          await typing.one({ senderId, conversationId, typing: typingNow });
          return create(SendTypingResponseSchema);
        },
      }),
    ],
    ready: () => serving && clock.elapsed() - db.answeredAtMs < READY_WINDOW_MS,
    async replay() {
      const batches = await outbox.replay();
      await compensation.poll();
      return batches;
    },
    stop() {
      serving = false;
      relay.stop();
      stopping ??= bounded(config.drainMs, async () => {
        await sends.idle();
        await compensation.stop();
        await relay.idle();
        await outbox.flush();
      });
      return stopping;
    },
  };
}

/** Waits for the work, but no longer than so many milliseconds. */
async function bounded(ms: number, work: () => Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  await Promise.race([work(), late]);
  clearTimeout(timer);
}
