import type { Client } from "@connectrpc/connect";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { GroupService } from "#gen/lucky/group/v1/group_pb.js";
import { IngressService } from "#gen/lucky/internal/ingress/v1/ingress_pb.js";
import type { SessionService } from "#gen/lucky/internal/session/v1/session_pb.js";
import { MessageService } from "#gen/lucky/message/v1/message_pb.js";
import { PresenceService } from "#gen/lucky/presence/v1/presence_pb.js";
import type { Bus } from "#platform/bus/bus.ts";
import type { Clock } from "#platform/clock.ts";
import { fail } from "#platform/errors.ts";
import type { Ids } from "#platform/ids.ts";
import type { Log } from "#platform/log.ts";
import type { Metrics } from "#platform/metrics.ts";
import type { Registry } from "#platform/registry/registry.ts";
import { type RunningService, serve } from "#platform/rpc/served.ts";
import { News } from "./catch-up/news.ts";
import type { ServerConfig } from "./config.ts";
import { watchAccountChanges } from "./conversations/account-changes.ts";
import { Conversations } from "./conversations/conversations.ts";
import { Directs } from "./conversations/directs.ts";
import { Users } from "./conversations/users.ts";
import { Compensation } from "./delivery/compensation.ts";
import { Outbox } from "./delivery/outbox.ts";
import { publishEntry } from "./delivery/publish-entry.ts";
import { Relay } from "./delivery/relay.ts";
import { groupService } from "./groups/group-service.ts";
import type { GroupDependencies } from "./groups/groups.ts";
import { ingressService } from "./ingress.ts";
import { Database, type Pool } from "./log/database.ts";
import { entryWriter } from "./log/write-entry.ts";
import { messageService } from "./messages.ts";
import { ServerMetrics } from "./metrics.ts";
import { Sends } from "./sending/sends.ts";
import { presenceService } from "./signals/presence-service.ts";

export interface ServerDependencies {
  readonly config: ServerConfig;
  readonly log: Log;
  readonly metrics: Metrics;
  /** Connections with read and write access to the schema im: one per lane and a few more. */
  readonly pool: Pool;
  readonly bus: Bus;
  readonly registry: Registry;
  /** RPC client of auth, to check which users exist. */
  readonly sessions: Client<typeof SessionService>;
  readonly ids: Ids;
  readonly clock: Clock;
}

export interface Server extends RunningService {
  /**
   * Resets abandoned outbox rows, on an operator's decision, and publishes them. Returns the number
   * of batches. Throws UNAVAILABLE.
   */
  replay(): Promise<number>;
}

/** Time after PostgreSQL's last answer for which the service counts as ready, ms. */
const READY_WINDOW_MS = 15_000;

/** News for the sweep are kept for four intervals: several rounds of connect's sweep. */
const NEWS = { intervalMs: 30_000, maxConversations: 2_000_000 };

/**
 * Starts server: the log of conversations, and the delivery of its entries to the bus. Serves
 * MessageService, GroupService, PresenceService and IngressService. The caller closes the
 * dependencies after `stop`.
 */
export async function startServer(d: ServerDependencies): Promise<Server> {
  const { config, clock, log } = d;
  const storage = createStorage(d);
  const delivery = createDelivery(d, storage);
  const { db, conversations, metrics } = storage;
  const { relay, outbox, compensation } = delivery;
  const sends = createSends(d, { ...storage, relay });
  const groups = groupDependencies(d, { ...storage, relay });
  const news = new News({ db, clock, log, ...NEWS });

  let serving = true;
  const mustServe = () => {
    if (serving) return;
    throw fail(ErrorReason.UNAVAILABLE, "this instance stops", { retryAfterMs: 100 });
  };
  const signals = { db, conversations, relay, clock, metrics, log, mustServe };
  await relay.start();
  compensation.start();
  news.start();
  const changes = watchAccountChanges({ sessions: d.sessions, users: storage.users, clock, log });
  let stopping: Promise<void> | undefined;

  return {
    served: [
      serve(IngressService, ingressService({ ...signals, sends, news })),
      serve(MessageService, messageService({ ...signals, sends })),
      serve(GroupService, groupService({ ...groups, mustServe })),
      serve(PresenceService, presenceService(signals)),
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
      news.stop();
      changes.close();
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

/** The database, its caches, and the metrics. */
interface Storage {
  readonly db: Database;
  readonly users: Users;
  readonly conversations: Conversations;
  readonly metrics: ServerMetrics;
}

function createStorage({ config, pool, clock, sessions, metrics }: ServerDependencies): Storage {
  const db = new Database({ pool, clock });
  return {
    db,
    users: new Users({
      sessions,
      timeoutMs: config.checkUsersTimeoutMs,
      cached: config.cachedUsers,
      clock,
    }),
    conversations: new Conversations({ db, clock, memberships: config.cachedMemberships }),
    metrics: new ServerMetrics(metrics),
  };
}

function createDelivery(
  { config, bus, registry, clock, log }: ServerDependencies,
  { db, conversations, metrics }: Storage,
): { outbox: Outbox; relay: Relay; compensation: Compensation } {
  const outbox = new Outbox({ db, clock, log, deleteLingerMs: config.outboxDeleteLingerMs });
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
  return { outbox, relay, compensation };
}

function createSends(
  { config, ids, clock, log }: ServerDependencies,
  { db, users, conversations, metrics, relay }: Storage & { relay: Relay },
): Sends {
  const cached = config.cachedMemberships;
  return new Sends({
    db,
    users,
    conversations,
    directs: new Directs({ db, users, conversations, ids, clock, cached }),
    relay,
    ids,
    clock,
    log,
    metrics,
    outboxDelayMs: config.outboxDelayMs,
    lanes: config.lanes,
    batchCount: config.laneBatchCount,
    batchBytes: config.laneBatchBytes,
    queueCount: config.laneQueueCount,
    queueBytes: config.laneQueueBytes,
    overloadedRetryMs: config.overloadedRetryMs,
  });
}

function groupDependencies(
  { config, ids, clock }: ServerDependencies,
  { db, users, conversations, relay }: Storage & { relay: Relay },
): GroupDependencies {
  return {
    db,
    users,
    ids,
    clock,
    maxMembers: config.maxGroupMembers,
    maxGroupsPerUser: config.maxGroupsPerUser,
    writeEntry: entryWriter({ ids, clock, outboxDelayMs: config.outboxDelayMs }),
    publish: (written) => publishEntry({ conversations, relay }, written),
  };
}

/** Waits for the work, at most `ms` milliseconds. */
async function bounded(ms: number, work: () => Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  await Promise.race([work(), late]);
  clearTimeout(timer);
}
