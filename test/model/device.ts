import { DeviceClass } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { Conversation } from "#gen/lucky/message/v1/conversation_pb.js";
import type { Entry } from "#gen/lucky/message/v1/entry_pb.js";
import type { SendResult } from "#gen/lucky/message/v1/message_pb.js";
import { reasonOf } from "#platform/errors.ts";
import type { RunningServer } from "../../services/server/server.fixture.ts";
import type { ConnectHarness } from "../connect/connect-harness.ts";
import { RawDevice } from "../devices/raw-device.ts";
import { contentHash, type History } from "../history/history.ts";
import { type DeviceEntry, DeviceLog, readEntry, sentEntry } from "./device-log.ts";
import type { Model, View } from "./model.ts";

/** Page size of ListEntries: small, so that a device reads several pages. */
const PAGE = 7;
/** Page size of ListMessages and ListChangedMessages. */
const MESSAGES = 3;
/** Missing entries from which on a device jumps, if it does. */
const JUMP = 5;
/** Greater than each sequence. */
const END = 9_007_199_254_740_991n;

/** Calls a server with retries. */
export type Call = <T>(call: (server: RunningServer) => Promise<T>) => Promise<T>;

export interface DeviceOptions {
  readonly user: string;
  /** Unique in the run. */
  readonly name: string;
  readonly model: Model;
  readonly history: History;
  readonly call: Call;
  /** Whether no server can reach the conversation. */
  readonly isBlocked: (conversationId: string) => boolean;
  /** Whether it skips entries when it lacks many, and reads messages and what changed since instead. */
  readonly jumps: boolean;
}

/**
 * A device as the protocol describes it: it shows each entry once, in order, fetches what it misses
 * when it finds a gap or is told so, acknowledges, and keeps the cursor of Sync.
 */
export class Device {
  readonly user: string;
  readonly name: string;
  readonly #options: DeviceOptions;
  readonly #logs = new Map<string, DeviceLog>();
  /** The conversations as the pages of Sync have them. */
  readonly #views = new Map<string, View>();
  /** Conversations with entries that the device lacks. */
  readonly #behind = new Set<string>();
  /** Own messages that the server has accepted on this session: the server does not push them. */
  #accepted: (DeviceEntry & { conversationId: string })[] = [];
  #cursor = "";
  /** A page of Sync lacked the conversations of a database. */
  #mustSync = false;
  #session: RawDevice | undefined;

  constructor(options: DeviceOptions) {
    this.#options = options;
    this.user = options.user;
    this.name = options.name;
  }

  get isOnline(): boolean {
    return this.#session !== undefined;
  }

  /** Opens a session, and catches up. */
  async connect({ issuer, address }: ConnectHarness, untilS: number): Promise<void> {
    const claims = {
      sub: this.user,
      did: this.name,
      sid: this.name,
      dcl: DeviceClass.WEB,
      exp: untilS,
    };
    this.#session = await RawDevice.hello(address, await issuer.token(claims));
    await this.syncAll();
  }

  async disconnect(): Promise<void> {
    await this.#session?.close();
    this.#session = undefined;
  }

  /** Sends a frame over the session. */
  send(...frame: Parameters<RawDevice["send"]>): void {
    this.#session!.send(...frame);
  }

  /** Waits until the instance has taken all frames of this device. */
  async flush(): Promise<void> {
    await this.#session?.roundTrip();
  }

  /** Waits until all earlier frames have arrived, and takes the results of sends among them. */
  async takeResults(): Promise<SendResult[]> {
    const session = this.#session!;
    await session.roundTrip();
    const results: SendResult[] = [];
    while (session.seen("sendResults").length > 0)
      results.push(...(await session.next("sendResults")).results);
    return results;
  }

  /** The server has accepted a message that this device has sent over its session. */
  accepted(
    { key, text }: { key: string; text: string },
    at: { conversationId: string; sequence: number; messageId: string },
  ): void {
    this.#accepted.push({ ...at, ...sentEntry(this.user, { key, text }) });
  }

  /** Waits until all earlier frames have arrived, and shows, fetches and acknowledges their entries. */
  async receive(): Promise<void> {
    const session = this.#session;
    if (session === undefined) return;
    await session.roundTrip();
    const touched = new Set<string>();
    for (const { conversationId, ...entry } of this.#accepted.splice(0)) {
      this.#show(conversationId, entry, "page");
      touched.add(conversationId);
    }
    while (session.seen("deliver").length > 0)
      for (const entry of (await session.next("deliver")).entries) {
        this.#show(entry.conversationId, readEntry(entry), "push");
        touched.add(entry.conversationId);
      }
    while (session.seen("syncRequired").length > 0) {
      const { conversationId, lastSequence } = await session.next("syncRequired");
      if (this.endOf(conversationId) < Number(lastSequence)) this.#behind.add(conversationId);
    }
    for (const id of touched) if (this.#logOf(id).hasGap) this.#behind.add(id);
    for (const id of await this.fetch()) touched.add(id);
    if (touched.size === 0) return;
    this.#acknowledge([...touched]);
    // The instance has taken the acknowledgement before it answers.
    await session.roundTrip();
  }

  /** Fetches the entries that the device lacks, if it can. Returns their conversations. */
  async fetch(): Promise<string[]> {
    const fetched = [...this.#behind].filter((id) => !this.#options.isBlocked(id));
    for (const conversationId of fetched) {
      this.#behind.delete(conversationId);
      await this.#fetchLog(conversationId);
    }
    return fetched;
  }

  /** Reads one page of Sync. Returns whether there is another one. */
  async syncPage(limit: number): Promise<boolean> {
    const { history, call } = this.#options;
    const { name: client, user } = this;
    const answer = await call((server) =>
      server.messages(user).sync({ cursor: this.#cursor, pageSize: limit }),
    );
    this.#cursor = answer.nextCursor;
    if (answer.retryAfterMs > 0n) this.#mustSync = true;
    history.add({ kind: "cursor", client, user, cursor: this.#cursor, more: answer.hasMore });
    for (const conversation of answer.conversations) {
      const view = viewOf(conversation);
      const { conversationId, peer, first, last } = view;
      if (!this.#views.has(conversationId) && peer !== "0")
        history.add({ kind: "conversation", client, user, conversation: conversationId, peer });
      this.#views.set(conversationId, view);
      const log = this.#logOf(conversationId);
      log.startAt(first);
      if (log.end < last) this.#behind.add(conversationId);
    }
    return answer.hasMore;
  }

  /** Reads all pages of Sync, and the entries that the device lacks. */
  async syncAll(): Promise<void> {
    this.#mustSync = false;
    while (await this.syncPage(3));
    await this.fetch();
  }

  /** Calls Sync again if it lacked the conversations of a database. */
  async retrySync(): Promise<void> {
    if (this.#mustSync) await this.syncAll();
  }

  /** The last sequence of a conversation up to which the device has everything. */
  endOf(conversationId: string): number {
    return this.#logOf(conversationId).end;
  }

  /** The conversations as Sync has described them, by ascending id. */
  get views(): View[] {
    return [...this.#views.values()].sort((a, b) =>
      BigInt(a.conversationId) < BigInt(b.conversationId) ? -1 : 1,
    );
  }

  /** The device's log of a conversation. */
  logOf({ conversationId }: View): DeviceLog {
    return this.#logOf(conversationId);
  }

  #logOf(conversationId: string): DeviceLog {
    const log = this.#logs.get(conversationId) ?? new DeviceLog(this.user);
    this.#logs.set(conversationId, log);
    return log;
  }

  #show(conversation: string, entry: DeviceEntry, via: "push" | "page"): void {
    if (!this.#logOf(conversation).add(entry)) return;
    const { sequence, sender, key, text, messageId: message, joined, left, change } = entry;
    const event = { client: this.name, user: this.user, conversation, sequence, sender };
    const { log } = this.#options.model.conversation(conversation);
    const isChanged = change !== undefined || (log[sequence - 1]?.state?.changed ?? 0) > 0;
    const isGone = log[sequence - 1]?.deletedFor.has(this.user);
    this.#options.history.add({
      kind: "entry",
      ...event,
      key: change === undefined ? key : "",
      message,
      hash: isChanged || isGone ? "" : contentHash(text),
      via,
      ...(joined.length > 0 ? { joined } : {}),
      ...(left.length > 0 ? { left } : {}),
    });
  }

  async #fetchLog(conversationId: string): Promise<void> {
    const log = this.#logOf(conversationId);
    const last = this.#views.get(conversationId)?.last ?? 0;
    if (this.#options.jumps && last - log.end > JUMP) await this.#jump(conversationId, log);
    for (;;) {
      const page = await this.#listAfter(conversationId, log.end);
      const [first] = page;
      if (first === undefined) return;
      // The user joined here: the server shows nothing before.
      log.startAt(Number(first.sequence));
      for (const entry of page) this.#show(conversationId, readEntry(entry), "page");
      if (page.length < PAGE) return;
    }
  }

  /**
   * Skips to the end of the log: reads the newest messages back to what the device has, and then what has
   * changed in that since.
   */
  async #jump(conversationId: string, log: DeviceLog): Promise<void> {
    const { call, history } = this.#options;
    const held = BigInt(log.end);
    let to: number | undefined;
    for (let before = END; before > held + 1n; ) {
      const page = await call((server) =>
        server.history(this.user).listMessages({
          conversationId,
          position: { case: "beforeSequence", value: before },
          pageSize: MESSAGES,
        }),
      );
      to ??= Number(page.lastSequence);
      for (const entry of page.messages)
        if (entry.sequence > held) this.#show(conversationId, readEntry(entry), "page");
      before = page.olderBeforeSequence;
    }
    for (let pageToken = ""; held > 0n; ) {
      const page = await call((server) =>
        server.history(this.user).listChangedMessages({
          conversationId,
          afterSequence: held,
          fromSequence: 1n,
          toSequence: held,
          pageSize: MESSAGES,
          pageToken,
        }),
      );
      for (const entry of page.messages) log.add(readEntry(entry));
      pageToken = page.nextPageToken;
      if (pageToken === "") break;
    }
    if (to !== undefined) log.jumpTo(to);
    history.add({ kind: "jump", client: this.name, conversation: conversationId });
  }

  async #listAfter(conversationId: string, after: number): Promise<Entry[]> {
    const position = { case: "afterSequence", value: BigInt(after) } as const;
    try {
      const answer = await this.#options.call((server) =>
        server.messages(this.user).listEntries({ conversationId, position, pageSize: PAGE }),
      );
      return answer.entries;
    } catch (error) {
      if (reasonOf(error) === ErrorReason.CONVERSATION_NOT_FOUND) return [];
      throw error;
    }
  }

  #acknowledge(conversationIds: readonly string[]): void {
    const cursors = conversationIds
      .map((conversationId) => ({ conversationId, delivered: this.endOf(conversationId) }))
      .filter(({ delivered }) => delivered > 0);
    if (cursors.length === 0) return;
    for (const { conversationId, delivered } of cursors)
      this.#options.model.acknowledged(this.user, conversationId, { delivered, read: 0 });
    this.send({
      case: "acknowledge",
      value: {
        cursors: cursors.map(({ conversationId, delivered }) => ({
          conversationId,
          deliveredSequence: BigInt(delivered),
        })),
      },
    });
  }
}

function viewOf(conversation: Conversation): View {
  const { lastEntry } = conversation;
  return {
    conversationId: conversation.conversationId,
    peer: conversation.peerUserId,
    first: Number(conversation.firstSequence),
    last: Number(conversation.lastSequence),
    lastText: lastEntry === undefined ? "" : readEntry(lastEntry).text,
    unread: Number(conversation.unreadCount),
    mentions: conversation.unreadMentions,
    delivered: Number(conversation.deliveredSequence),
    read: Number(conversation.readSequence),
    member: conversation.member,
    peerDelivered: Number(conversation.peerDeliveredSequence),
    peerRead: Number(conversation.peerReadSequence),
  };
}
