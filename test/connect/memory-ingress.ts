import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { EnvelopeSchema } from "#gen/lucky/internal/envelope/v1/envelope_pb.js";
import {
  type Advance,
  IngressService,
  type TypingSignal,
} from "#gen/lucky/internal/ingress/v1/ingress_pb.js";
import { EntrySchema } from "#gen/lucky/message/v1/entry_pb.js";
import { SendRequestSchema, SendResultSchema } from "#gen/lucky/message/v1/message_pb.js";
import type { DeadLetter } from "#gen/lucky/operations/v1/operations_pb.js";
import type { Bus } from "#platform/bus/bus.ts";
import { groupChannel, userChannel } from "#platform/channels.ts";
import type { Clock } from "#platform/clock.ts";
import { fail } from "#platform/errors.ts";
import type { Registry } from "#platform/registry/registry.ts";
import { serve } from "#platform/rpc/served.ts";

/** Encoded entries by conversation: index n holds sequence n + 1. */
type Entries = Map<string, Uint8Array[]>;

/**
 * An in-memory fake of server's IngressService: enough of the log to test connect without a
 * database. It publishes the entries that it appends.
 */
export class MemoryIngress {
  readonly entries: Entries = new Map();
  /** By group: the members, with the first sequence that each of them may see. */
  readonly groups = new Map<string, Map<string, bigint>>();
  readonly advances: Advance[] = [];
  /** Calls of AdvanceBatch. */
  advanceCalls = 0;
  readonly signals: TypingSignal[] = [];
  readonly batches: number[] = [];
  readonly deadLetters: DeadLetter[] = [];
  /** Look-ups of a user's groups, counted per user and call. */
  lookUps = 0;
  /** Set to drop every publish, as a broken bus would. */
  dropPublishes = false;
  /** Number of appends that will fail before they store anything. */
  failing = 0;
  /** Set to fail every call, as an unreachable server would. */
  down = false;
  /** Epoch of the log. */
  epoch = 1n;
  /** Set to report groups as incomplete, as a server with several databases does while one is away. */
  incomplete = false;
  /** A user whose cursors and news cause an error: a batch with this user fails. */
  badUserId = "";
  /** A conversation whose database is away: its cursors fail, and leave the others alone. */
  awayConversationId = "";
  /** Set to let calls with cursors of this database time out instead. */
  hanging = false;
  readonly #bus: Bus;
  readonly #registry: Registry;
  readonly #keys = new Map<string, Uint8Array>();
  /** Number of the last change, by conversation. */
  readonly #changes = new Map<string, number>();
  /** Number of the last change of memberships, by user. */
  readonly #moved = new Map<string, number>();
  #change = 0;
  /** Cursors of the sweeps so far. */
  readonly sweptFrom: string[] = [];
  readonly #clock: Clock;

  constructor(options: { bus: Bus; registry: Registry; clock: Clock }) {
    this.#bus = options.bus;
    this.#registry = options.registry;
    this.#clock = options.clock;
  }

  served() {
    const mustBeUp = () => {
      if (this.down) throw fail(ErrorReason.UNAVAILABLE, "unreachable");
    };
    return serve(IngressService, {
      appendBatch: async ({ uplinks }) => {
        mustBeUp();
        if (this.failing-- > 0) throw fail(ErrorReason.UNAVAILABLE, "failing");
        this.batches.push(uplinks.length);
        const results: Uint8Array[] = [];
        for (const { senderId, sessionId, send } of uplinks) {
          results.push(await this.append(senderId, sessionId, send));
        }
        return { results };
      },
      openSessions: async ({ userIds }) => {
        mustBeUp();
        this.lookUps += userIds.length;
        const { incomplete } = this;
        const opened = userIds.map((userId) => {
          const own = [...this.groups].filter(([, users]) => users.has(userId));
          const groupIds = own.map(([groupId]) => groupId);
          const firstSequences = own.map(([, users]) => users.get(userId)!);
          return { groupIds, firstSequences, incomplete };
        });
        return { opened };
      },
      advanceBatch: async ({ advances }) => {
        mustBeUp();
        if (advances.some(({ userId }) => userId === this.badUserId)) throw new Error("bad user");
        this.advanceCalls++;
        const isAway = ({ cursor }: Advance) => cursor?.conversationId === this.awayConversationId;
        if (this.hanging && advances.some(isAway))
          throw new ConnectError("the call timed out", Code.DeadlineExceeded);
        this.advances.push(...advances.filter((one) => !isAway(one)));
        return { failed: [...advances.keys()].filter((at) => isAway(advances[at]!)) };
      },
      signalBatch: async ({ signals }) => {
        mustBeUp();
        this.signals.push(...signals);
        return {};
      },
      readEntries: async ({ ranges }) => {
        mustBeUp();
        return {
          ranges: ranges.map(({ conversationId, afterSequence, limit }) => {
            const from = Number(afterSequence);
            const all = this.entries.get(conversationId) ?? [];
            return { entries: all.slice(from, from + limit) };
          }),
        };
      },
      recordDeadLetters: async ({ letters }) => {
        mustBeUp();
        this.deadLetters.push(...letters);
        return {};
      },
      sweep: async ({ userIds, cursor }) => {
        mustBeUp();
        if (userIds.includes(this.badUserId)) throw new Error("bad user");
        this.sweptFrom.push(cursor);
        const changed = [...this.entries]
          .filter(([id]) => (this.#changes.get(id) ?? 0) > Number(cursor))
          .map(([id, entries]) => ({ id, lastSequence: BigInt(entries.length) }));
        const isGroup = ({ id }: { id: string }) => this.groups.has(id);
        const changes = changed
          .filter((conversation) => !isGroup(conversation))
          .flatMap(({ id, lastSequence }) =>
            this.usersOf(id)
              .filter((userId) => userIds.includes(userId))
              .map((userId) => ({ userId, conversationId: id, lastSequence })),
          );
        const groups = changed
          .filter(isGroup)
          .map(({ id, lastSequence }) => ({ groupId: id, lastSequence }));
        const memberUserIds = userIds.filter((id) => (this.#moved.get(id) ?? 0) > Number(cursor));
        const databases = [{ databaseId: "log", epoch: this.epoch }];
        return { changes, groups, memberUserIds, nextCursor: String(this.#change), databases };
      },
    });
  }

  /** Members of a group, or the two users encoded in a direct conversation's id. */
  usersOf(conversationId: string): string[] {
    const group = this.groups.get(conversationId);
    if (group) return [...group.keys()];
    const id = BigInt(conversationId);
    return [(id / 1_000_000n).toString(), (id % 1_000_000n).toString()];
  }

  async append(senderId: string, sessionId: string, send: Uint8Array): Promise<Uint8Array> {
    const { clientMessageId, content, target } = fromBinary(SendRequestSchema, send);
    const [low = "", high = ""] = [senderId, target.value ?? "0"].sort(
      (a, b) => Number(a) - Number(b),
    );
    const conversationId =
      target.case === "userId"
        ? (BigInt(low) * 1_000_000n + BigInt(high)).toString()
        : (target.value ?? "0");
    const key = `${senderId}:${conversationId}:${clientMessageId}`;
    const known = this.#keys.get(key);
    if (known) return known;

    const entries = this.entries.get(conversationId) ?? [];
    this.entries.set(conversationId, entries);
    const sequence = BigInt(entries.length + 1);
    const acceptedAtMs = BigInt(this.#clock.now());
    const common = { conversationId, sequence, acceptedAtMs, messageId: `9${sequence}` };
    const entry = { ...common, senderId, clientMessageId, content };
    entries.push(toBinary(EntrySchema, create(EntrySchema, entry)));
    this.#change++;
    this.#changes.set(conversationId, this.#change);
    const outcome = { case: "accepted" as const, value: common };
    const result = toBinary(
      SendResultSchema,
      create(SendResultSchema, { clientMessageId, outcome }),
    );
    this.#keys.set(key, result);
    await this.#publish(conversationId, entries, sessionId);
    return result;
  }

  /** Changes a membership and publishes the change to the user's sessions. */
  async member(groupId: string, userId: string, member: boolean): Promise<void> {
    const users = this.groups.get(groupId) ?? new Map<string, bigint>();
    this.groups.set(groupId, users);
    const firstSequence = BigInt((this.entries.get(groupId)?.length ?? 0) + 1);
    if (member) users.set(userId, firstSequence);
    else users.delete(userId);
    this.#change++;
    this.#moved.set(userId, this.#change);
    const memberships = [{ groupId, userId, member, firstSequence: member ? firstSequence : 0n }];
    await this.publish([userChannel(userId)], { memberships });
  }

  /** Publishes an envelope to the instances that hear the channels. */
  async publish(
    channels: string[],
    envelope: Parameters<typeof create<typeof EnvelopeSchema>>[1],
  ): Promise<void> {
    if (this.dropPublishes) return;
    const located = await this.#registry.locate(channels);
    const body = toBinary(EnvelopeSchema, create(EnvelopeSchema, envelope));
    for (const instanceId of new Set(located.flat())) {
      await this.#bus.publish(instanceId, body, AbortSignal.timeout(5_000));
    }
  }

  async #publish(conversationId: string, entries: Uint8Array[], sessionId: string): Promise<void> {
    const channels = this.groups.has(conversationId)
      ? [groupChannel(conversationId)]
      : this.usersOf(conversationId).map(userChannel);
    await this.publish(channels, {
      deliveries: [
        {
          channels,
          conversationId,
          lastSequence: BigInt(entries.length),
          entries: entries.slice(-1),
          originSessionIds: [sessionId],
        },
      ],
    });
  }
}
