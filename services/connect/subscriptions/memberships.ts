import type { Client } from "@connectrpc/connect";
import type { Membership } from "#gen/lucky/internal/envelope/v1/envelope_pb.js";
import {
  type IngressService,
  OpenSessionsRequestSchema,
} from "#gen/lucky/internal/ingress/v1/ingress_pb.js";
import { type Gather, gather } from "#platform/batching/gather.ts";
import { groupChannel, userChannel } from "#platform/channels.ts";
import type { Clock } from "#platform/clock.ts";
import { maxItems } from "#platform/constraints.ts";
import type { Log } from "#platform/log.ts";
import { syncRequiredFrame } from "../socket/frames.ts";
import type { Session } from "../socket/session.ts";
import type { Channels } from "./channels.ts";

export interface MembershipsOptions {
  ingress: Pick<Client<typeof IngressService>, "openSessions">;
  channels: Channels;
  clock: Clock;
  log: Log;
  config: { readonly callTimeoutMs: number };
}

/** Users in one call. */
const LOOK_UP_LIMIT = maxItems(OpenSessionsRequestSchema.field.userIds);
const LOOK_UP_QUEUE = 50_000;
/** Pause before a look-up that failed is tried again. */
const RETRY_MS = 1_000;

/**
 * Which groups the sessions hear. What the bus says of a change is done at once and then compared
 * with the log: the bus may say it late, twice, or after what came later.
 */
export class Memberships {
  readonly #options: MembershipsOptions;
  readonly #lookUps: Gather<string, readonly string[]>;
  /** By user: what the bus said while the log was asked, one map a look-up. */
  readonly #news = new Map<string, Set<Map<string, boolean>>>();
  /** Users whose sessions are being compared with the log, and whether once more after that. */
  readonly #checks = new Map<string, { again: boolean }>();
  #closed = false;

  constructor(options: MembershipsOptions) {
    const { clock, config, ingress } = options;
    this.#options = options;
    this.#lookUps = gather<string, readonly string[]>({
      clock,
      limit: LOOK_UP_LIMIT,
      lingerMs: 0,
      inFlight: 4,
      queue: LOOK_UP_QUEUE,
      async call(userIds) {
        const answer = await ingress.openSessions(
          {
            $typeName: "lucky.internal.ingress.v1.OpenSessionsRequest",
            userIds: [...userIds],
          },
          { timeoutMs: config.callTimeoutMs },
        );
        return answer.opened.map(({ groupIds }) => groupIds);
      },
    });
  }

  /**
   * A session that hears its user's channel hears the user's groups from now on. Resolves when the
   * registry knows; rejects with UNAVAILABLE. A session that closes meanwhile hears nothing more.
   */
  async open(session: Session, userId: string): Promise<void> {
    const groups = await this.#groupsOf(userId);
    if (session.state.kind === "closed") return;
    this.#settle(session, groups);
    await this.#options.channels.join([...groups].map(groupChannel));
  }

  /** The bus says that a membership changed. */
  apply({ userId, groupId, member }: Membership): void {
    const user = this.#options.channels.get(userChannel(userId));
    if (!user) return;
    for (const news of this.#news.get(userId) ?? []) news.set(groupId, member);
    for (const session of user.sessions) {
      if (member) this.#join(session, groupId);
      else this.#leave(session, groupId);
    }
    if (member) void this.#options.channels.joinInTheEnd([groupChannel(groupId)]);
    this.check(userId);
  }

  /** Compares what the user's sessions hear with the log, soon, and again until that succeeds. */
  check(userId: string): void {
    const running = this.#checks.get(userId);
    if (running) running.again = true;
    else void this.#check(userId);
  }

  close(): void {
    this.#closed = true;
  }

  async #check(userId: string): Promise<void> {
    const { channels, clock, log } = this.#options;
    const check = { again: true };
    this.#checks.set(userId, check);
    const sessions = () => channels.get(userChannel(userId))?.sessions;
    while (check.again && sessions() && !this.#closed) {
      check.again = false;
      try {
        const groups = await this.#groupsOf(userId);
        for (const session of sessions() ?? []) this.#settle(session, groups);
        if (sessions()) void channels.joinInTheEnd([...groups].map(groupChannel));
      } catch (error) {
        log.warn({ event: "memberships_not_checked", err: error });
        check.again = true;
        await new Promise<void>((resolve) => clock.after(RETRY_MS, resolve));
      }
    }
    this.#checks.delete(userId);
  }

  /** The user's groups: what the log says, and on top of it what the bus said meanwhile. */
  async #groupsOf(userId: string): Promise<ReadonlySet<string>> {
    const news = new Map<string, boolean>();
    const all = this.#news.get(userId) ?? new Set();
    this.#news.set(userId, all.add(news));
    try {
      const groupIds = await this.#lookUps.add(userId);
      if (!groupIds) throw new Error("too many sessions open at once");
      const groups = new Set(groupIds);
      for (const [groupId, member] of news) {
        if (member) groups.add(groupId);
        else groups.delete(groupId);
      }
      return groups;
    } finally {
      all.delete(news);
      if (all.size === 0 && this.#news.get(userId) === all) this.#news.delete(userId);
    }
  }

  #settle(session: Session, groups: ReadonlySet<string>): void {
    for (const groupId of [...session.cursors.groups()]) {
      if (!groups.has(groupId)) this.#leave(session, groupId);
    }
    for (const groupId of groups) this.#join(session, groupId);
  }

  #join(session: Session, groupId: string): void {
    if (session.state.kind === "closed" || session.cursors.inGroup(groupId)) return;
    const channel = this.#options.channels.subscribe(session, groupChannel(groupId));
    const last = channel.watermarks?.get(groupId)?.last;
    session.cursors.joinGroup(groupId, last);
    if (!session.isOpen) return;
    session.socket.subscribe(channel.name);
    // Others here were sent entries that may be the session's, too: it will not be sent them again.
    if (last !== undefined) session.tell(syncRequiredFrame(groupId, last));
  }

  #leave(session: Session, groupId: string): void {
    const name = groupChannel(groupId);
    session.cursors.leaveGroup(groupId);
    session.socket.unsubscribe(name);
    this.#options.channels.unsubscribe(session, name);
  }
}
