import type { Client } from "@connectrpc/connect";
import type { Membership } from "#gen/lucky/internal/envelope/v1/envelope_pb.js";
import {
  type IngressService,
  OpenSessionsRequestSchema,
  type OpenSessionsResponse_Opened,
} from "#gen/lucky/internal/ingress/v1/ingress_pb.js";
import { type Gather, gather } from "#platform/batching/gather.ts";
import { groupChannel, userChannel } from "#platform/channels.ts";
import type { Clock } from "#platform/clock.ts";
import type { Log } from "#platform/log.ts";
import { maxItems } from "#platform/validation/constraints.ts";
import { syncRequiredFrame } from "../socket/frames.ts";
import type { Session } from "../socket/session.ts";
import { type Channels, restrict } from "./channels.ts";
import { type CheckResult, Rechecks } from "./rechecks.ts";

export interface MembershipsOptions {
  ingress: Pick<Client<typeof IngressService>, "openSessions">;
  channels: Channels;
  clock: Clock;
  log: Log;
  config: { readonly callTimeoutMs: number };
}

/** The groups of a user. */
interface FoundGroups {
  /** By group: the first sequence that the user may see; 0 when it is not known. */
  readonly groups: ReadonlyMap<string, number>;
  /** Whether a database of server could not be read: further groups may exist. */
  readonly incomplete: boolean;
}

/** Maximum users in one look-up. */
const LOOK_UP_LIMIT = maxItems(OpenSessionsRequestSchema.field.userIds);
/** Maximum users that wait for a look-up; a further look-up fails. */
const LOOK_UP_QUEUE = 50_000;

/**
 * Subscribes sessions to the groups of their users. A membership change from the bus is applied at
 * once and then verified against the log, because the bus may deliver it late, twice or out of
 * order.
 */
export class Memberships {
  readonly #options: MembershipsOptions;
  readonly #lookUps: Gather<string, OpenSessionsResponse_Opened>;
  /**
   * By user: changes that arrived from the bus during a look-up, one map per look-up. They override
   * the result of the look-up, which may be stale.
   */
  readonly #changes = new Map<string, Set<Map<string, Membership>>>();
  /**
   * By user: the running check of the sessions against the log, and whether another check must
   * follow.
   */
  readonly #checks = new Map<string, { rerun: boolean }>();
  readonly #rechecks: Rechecks;
  #closed = false;

  constructor(options: MembershipsOptions) {
    const { clock, config, ingress } = options;
    this.#options = options;
    this.#lookUps = gather<string, OpenSessionsResponse_Opened>({
      clock,
      batchCount: LOOK_UP_LIMIT,
      lingerMs: 0,
      inFlight: 4,
      queueCount: LOOK_UP_QUEUE,
      async call(userIds) {
        const answer = await ingress.openSessions(
          {
            $typeName: "lucky.internal.ingress.v1.OpenSessionsRequest",
            userIds: [...userIds],
          },
          { timeoutMs: config.callTimeoutMs },
        );
        return answer.opened;
      },
    });
    this.#rechecks = new Rechecks({
      ...options,
      batchCount: LOOK_UP_LIMIT,
      check: async (userId) => (this.#checks.has(userId) ? "skipped" : this.#check(userId)),
    });
  }

  /**
   * Subscribes a session, which already hears its user's channel, to the user's groups. Resolves
   * when the registry has the groups' channels; rejects with UNAVAILABLE. A session that closes
   * before that is not subscribed. Groups of an unreachable database of server are subscribed
   * later.
   */
  async open(session: Session, userId: string): Promise<void> {
    const found = await this.#groupsOf(userId);
    if (session.state.kind === "closed") return;
    this.#applyGroups(session, found);
    if (found.incomplete) this.#rechecks.add(userId, incompleteError());
    await this.#options.channels.join([...found.groups.keys()].map(groupChannel));
  }

  /** Applies a membership change from the bus. */
  apply(membership: Membership): void {
    const { userId, groupId, member, firstSequence } = membership;
    const user = this.#options.channels.get(userChannel(userId));
    if (!user) return;
    for (const changes of this.#changes.get(userId) ?? []) changes.set(groupId, membership);
    for (const session of user.sessions) {
      if (member) this.#join(session, groupId, Number(firstSequence));
      else this.#leave(session, groupId);
    }
    if (member) void this.#options.channels.joinWithRetries([groupChannel(groupId)]);
    this.check(userId);
  }

  /**
   * Checks the groups that the user's sessions hear against the log, with retries until all
   * databases of server were read.
   */
  check(userId: string): void {
    const running = this.#checks.get(userId);
    if (running) running.rerun = true;
    else void this.#check(userId);
  }

  close(): void {
    this.#closed = true;
    this.#rechecks.close();
  }

  async #check(userId: string): Promise<CheckResult> {
    const check = { rerun: true };
    this.#checks.set(userId, check);
    let result: CheckResult = "skipped";
    while (check.rerun && this.#sessionsOf(userId) && !this.#closed) {
      check.rerun = false;
      try {
        const found = await this.#groupsOf(userId);
        this.#applyToAll(userId, found);
        if (found.incomplete) throw incompleteError();
        this.#rechecks.delete(userId);
        result = "complete";
      } catch (error) {
        this.#rechecks.add(userId, error);
        result = "failed";
      }
    }
    this.#checks.delete(userId);
    return result;
  }

  #sessionsOf(userId: string): Iterable<Session> | undefined {
    return this.#options.channels.get(userChannel(userId))?.sessions;
  }

  /** Applies groups to the user's sessions, and joins the channels of groups that are new to one. */
  #applyToAll(userId: string, found: FoundGroups): void {
    const joined = new Set<string>();
    for (const session of this.#sessionsOf(userId) ?? [])
      for (const groupId of this.#applyGroups(session, found)) joined.add(groupChannel(groupId));
    if (joined.size > 0) void this.#options.channels.joinWithRetries([...joined]);
  }

  /**
   * The user's groups: the groups in the log, plus the changes that the bus delivered during the
   * look-up.
   */
  async #groupsOf(userId: string): Promise<FoundGroups> {
    const changes = new Map<string, Membership>();
    const lookUps = this.#changes.get(userId) ?? new Set();
    this.#changes.set(userId, lookUps.add(changes));
    try {
      const opened = await this.#lookUps.add(userId);
      if (!opened) throw new Error("too many sessions open at once");
      const { groupIds, firstSequences } = opened;
      const groups = new Map(groupIds.map((id, at) => [id, Number(firstSequences[at] ?? 0)]));
      for (const [groupId, { member, firstSequence }] of changes) {
        if (member) groups.set(groupId, Number(firstSequence));
        else groups.delete(groupId);
      }
      return { groups, incomplete: opened.incomplete };
    } finally {
      lookUps.delete(changes);
      if (lookUps.size === 0 && this.#changes.get(userId) === lookUps) this.#changes.delete(userId);
    }
  }

  /**
   * Subscribes the session to its groups, and returns those that are new to it. Groups that are
   * missing in an incomplete result may still be the user's.
   */
  #applyGroups(session: Session, { groups, incomplete }: FoundGroups): string[] {
    for (const groupId of [...session.cursors.groups()]) {
      if (!incomplete && !groups.has(groupId)) this.#leave(session, groupId);
    }
    const added: string[] = [];
    for (const [groupId, first] of groups) {
      if (!session.cursors.inGroup(groupId)) added.push(groupId);
      this.#join(session, groupId, first);
    }
    return added;
  }

  /** `first`: the first sequence that the user may see. It is higher after leaving and rejoining. */
  #join(session: Session, groupId: string, first: number): void {
    if (session.state.kind === "closed") return;
    const isNew = !session.cursors.inGroup(groupId);
    const name = groupChannel(groupId);
    const { channels } = this.#options;
    const channel = isNew ? channels.subscribe(session, name) : channels.get(name);
    if (!channel) return;
    restrict(channel, session, first);
    if (!isNew) return;
    const last = channel.watermarks?.get(groupId)?.last;
    session.cursors.joinGroup(groupId, last);
    if (!session.isOpen) return;
    session.socket.subscribe(channel.name);
    // The channel already delivered entries that were not sent to this session, so the session must
    // sync them.
    if (last !== undefined) session.sendRequired(syncRequiredFrame(groupId, last));
  }

  #leave(session: Session, groupId: string): void {
    const name = groupChannel(groupId);
    session.cursors.leaveGroup(groupId);
    session.socket.unsubscribe(name);
    this.#options.channels.unsubscribe(session, name);
  }
}

function incompleteError(): Error {
  return new Error("a database of server could not be read");
}
