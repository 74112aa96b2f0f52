import type { Client } from "@connectrpc/connect";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { GroupService } from "#gen/lucky/group/v1/group_pb.js";
import { IngressService } from "#gen/lucky/internal/ingress/v1/ingress_pb.js";
import type { SessionService } from "#gen/lucky/internal/session/v1/session_pb.js";
import { ChangeService } from "#gen/lucky/message/v1/change_pb.js";
import { ConversationService } from "#gen/lucky/message/v1/conversation_pb.js";
import { HistoryService } from "#gen/lucky/message/v1/history_pb.js";
import { MessageService } from "#gen/lucky/message/v1/message_pb.js";
import { OperationsService } from "#gen/lucky/operations/v1/operations_pb.js";
import { PresenceService } from "#gen/lucky/presence/v1/presence_pb.js";
import type { Bus } from "#platform/bus/bus.ts";
import type { Clock } from "#platform/clock.ts";
import { fail } from "#platform/errors.ts";
import type { Ids } from "#platform/ids.ts";
import type { Log } from "#platform/log.ts";
import type { Metrics } from "#platform/metrics.ts";
import type { Processes } from "#platform/process/processes.ts";
import type { Registry } from "#platform/registry/registry.ts";
import { type RunningService, serve } from "#platform/rpc/served.ts";
import { endsWithin } from "#platform/waiting.ts";
import { conversationService } from "./catch-up/conversation-service.ts";
import { News } from "./catch-up/news.ts";
import type { ChangeDependencies } from "./changes/change.ts";
import { changeService } from "./changes/change-service.ts";
import { Reactions } from "./changes/reactions.ts";
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
import { historyService } from "./history/history-service.ts";
import { ingressService } from "./ingress.ts";
import type { Database, ObserveRun, Pool } from "./log/database.ts";
import { Logs } from "./log/logs.ts";
import { Turns } from "./log/turns.ts";
import { entryWriter } from "./log/write-entry.ts";
import { messageService } from "./messages.ts";
import { ServerMetrics } from "./metrics.ts";
import { operationsService } from "./operations/operations-service.ts";
import { Sends } from "./sending/sends.ts";
import { presenceService } from "./signals/presence-service.ts";

export interface ServerDependencies {
  readonly config: ServerConfig;
  readonly log: Log;
  readonly metrics: Metrics;
  /**
   * A pool for each database of the log, with read and write access to the schema im: connections for
   * each lane and a few more.
   */
  readonly pools: readonly Pool[];
  readonly bus: Bus;
  readonly registry: Registry;
  /** RPC client of auth, to check which users exist. */
  readonly sessions: Client<typeof SessionService>;
  readonly ids: Ids;
  readonly clock: Clock;
  /** The processes of the installation, for operators. */
  readonly processes: Processes;
  /** Called before each run of a statement, by tests of the routes. */
  readonly observe?: ObserveRun;
}

export interface Server extends RunningService {
  /**
   * Resets all abandoned outbox rows and publishes them. Returns the number of batches. Throws
   * UNAVAILABLE when a database cannot be reached, after it has tried the others.
   */
  replay(): Promise<number>;
  /** Whether no database of the log can be reached, so that other instances may serve better. */
  impaired(): boolean;
  /** Wait for a connection to the least busy database of the log, ms. */
  databaseWaitMs(): number;
}

/** Time after PostgreSQL's last answer for which the service counts as ready, ms. */
const READY_WINDOW_MS = 15_000;

/**
 * A call with sends for several databases waits this much longer, ms, than for the answer of one. In sum it
 * is shorter than the time-out of connect, which would repeat the whole call.
 */
const LATE_MS = 1_000;

/**
 * News for the sweep are kept for four intervals: several rounds of connect's sweep. The maximum is that
 * of all databases together.
 */
const NEWS = { intervalMs: 30_000, maxConversations: 2_000_000 };

/**
 * Starts server: the log of conversations, and the delivery of its entries to the bus. Serves
 * MessageService, ChangeService, HistoryService, ConversationService, GroupService, PresenceService,
 * OperationsService and IngressService. The caller closes the dependencies after `stop`. Rejects with an error
 * for operators when the databases of the log do not have each bucket once.
 */
export async function startServer(d: ServerDependencies): Promise<Server> {
  const { config, clock, log } = d;
  const storage = createStorage(d);
  const delivery = createDelivery(d, storage);
  const { logs, conversations, metrics } = storage;
  const { relay, outboxes, compensations } = delivery;
  const cached = config.cachedMemberships;
  const directs = new Directs({ ...storage, ids: d.ids, clock, cached });
  const sends = createSends(d, { ...storage, ...delivery, directs });
  const writing = writingDependencies(d, { ...storage, ...delivery });
  const reactions = new Reactions(writing);
  const maxConversations = Math.ceil(NEWS.maxConversations / logs.databases.length);
  const news = byDatabase(
    { logs, log },
    (db, log) =>
      new News({
        db,
        clock,
        log,
        intervalMs: NEWS.intervalMs,
        maxConversations,
        historyChanged() {
          conversations.clear();
          directs.clear();
        },
      }),
  );
  d.metrics.sampled(
    "lucky_log_running_transaction_seconds",
    "How long the lowest running transaction of a database of the log has been seen.",
    ["database"],
    () =>
      [...news].map(
        ([db, one]) => [{ database: String(db.number + 1) }, one.runningSeconds] as const,
      ),
  );

  let serving = true;
  const mustServe = () => {
    if (serving) return;
    throw fail(ErrorReason.UNAVAILABLE, "this instance stops", { retryAfterMs: 100 });
  };
  const signals = { logs, conversations, relay, clock, metrics, log, mustServe };
  await logs.start();
  await relay.start();
  for (const compensation of compensations.values()) compensation.start();
  for (const one of news.values()) one.start();
  const changes = watchAccountChanges({ sessions: d.sessions, users: storage.users, clock, log });
  let stopping: Promise<void> | undefined;
  const drain = async () => {
    await Promise.all([sends.idle(), reactions.idle()]);
    await Promise.all([...compensations.values()].map((compensation) => compensation.stop()));
    await relay.idle();
    await Promise.all([...outboxes.values()].map((outbox) => outbox.flush()));
  };
  const poll = () =>
    Promise.all([...compensations.values()].map((compensation) => compensation.poll()));
  const replay = (batchIds?: readonly string[]) =>
    logs.everywhere((db) => outboxes.get(db)!.replay(batchIds));
  const operations = operationsService({
    ...{ logs, mustServe },
    processes: d.processes,
    sessions: d.sessions,
    async replay(batchIds) {
      // Also after a failure: other databases may have reset their batches.
      return replay(batchIds).finally(() => void poll());
    },
  });
  const isReady = ({ answeredAtMs }: Database) => clock.elapsed() - answeredAtMs < READY_WINDOW_MS;

  return {
    served: [
      serve(IngressService, ingressService({ ...signals, sends, news })),
      serve(ConversationService, conversationService(signals)),
      serve(HistoryService, historyService(signals)),
      serve(MessageService, messageService({ ...signals, sends, directs })),
      serve(ChangeService, changeService({ ...writing, reactions, mustServe })),
      serve(GroupService, groupService({ ...writing, mustServe })),
      serve(PresenceService, presenceService(signals)),
      serve(OperationsService, operations),
    ],
    ready: () => serving && logs.databases.some(isReady),
    impaired: () => logs.databases.every(({ unreachable }) => unreachable),
    databaseWaitMs: () => Math.min(...logs.databases.map(({ waitMs }) => waitMs)),
    async replay() {
      const { results, failures } = await replay();
      await poll();
      for (const { error } of failures) throw error;
      return results.reduce((sum, batches) => sum + batches, 0);
    },
    stop() {
      serving = false;
      logs.stop();
      relay.stop();
      for (const one of news.values()) one.stop();
      changes.close();
      stopping ??= endsWithin(config.drainMs, drain()).then(() => {});
      return stopping;
    },
  };
}

/** Creates a part of the service for each database of the log; its log lines name the database. */
function byDatabase<T>(
  { logs, log }: { logs: Logs; log: Log },
  create: (db: Database, log: Log) => T,
): ReadonlyMap<Database, T> {
  const several = logs.databases.length > 1;
  return new Map(
    logs.databases.map((db) => [
      db,
      create(db, several ? log.child({ database: db.number + 1 }) : log),
    ]),
  );
}

/** The databases, the caches, and the metrics. */
interface Storage {
  readonly logs: Logs;
  readonly users: Users;
  readonly conversations: Conversations;
  readonly metrics: ServerMetrics;
}

function createStorage(d: ServerDependencies): Storage {
  const { config, pools, clock, log, sessions, observe } = d;
  const logs = new Logs({ pools, clock, log, answerMs: config.databaseAnswerMs, observe });
  return {
    logs,
    users: new Users({
      sessions,
      timeoutMs: config.checkUsersTimeoutMs,
      cached: config.cachedUsers,
      clock,
    }),
    conversations: new Conversations({ logs, clock, memberships: config.cachedMemberships }),
    metrics: new ServerMetrics(d.metrics),
  };
}

/** The parts that publish committed entries to the bus. */
interface Delivery {
  readonly relay: Relay;
  readonly outboxes: ReadonlyMap<Database, Outbox>;
  readonly compensations: ReadonlyMap<Database, Compensation>;
}

function createDelivery(
  { config, bus, registry, clock, log }: ServerDependencies,
  { logs, conversations, metrics }: Storage,
): Delivery {
  const relay = new Relay({
    bus,
    registry,
    clock,
    log,
    metrics,
    config,
  });
  const outboxes = byDatabase(
    { logs, log },
    (db, log) => new Outbox({ db, clock, log, deleteLingerMs: config.outboxDeleteLingerMs }),
  );
  const compensations = byDatabase(
    { logs, log },
    (db, log) =>
      new Compensation({
        db,
        bus,
        conversations,
        relay,
        outbox: outboxes.get(db)!,
        clock,
        log,
        metrics,
        intervalMs: config.outboxIntervalMs,
        config,
        maxBackoffMs: config.outboxMaxBackoffMs,
        delayMs: config.outboxDelayMs,
      }),
  );
  return { relay, outboxes, compensations };
}

function createSends(
  { config, ids, clock, log }: ServerDependencies,
  {
    logs,
    users,
    conversations,
    metrics,
    relay,
    outboxes,
    directs,
  }: Storage & Delivery & { readonly directs: Directs },
): Sends {
  return new Sends({
    logs,
    outboxes,
    users,
    conversations,
    directs,
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
    config,
    lateMs: config.databaseAnswerMs + LATE_MS,
  });
}

/** For the parts that write entries of the server itself. */
function writingDependencies(
  { config, ids, clock }: ServerDependencies,
  { logs, users, conversations, relay, outboxes }: Storage & Delivery,
): GroupDependencies & ChangeDependencies {
  return {
    logs,
    users,
    ids,
    clock,
    config,
    turns: new Turns(),
    writeEntry: entryWriter({ ids, clock, outboxDelayMs: config.outboxDelayMs }),
    publish: (db, written) =>
      publishEntry({ conversations, relay, outbox: outboxes.get(db)! }, written),
  };
}
