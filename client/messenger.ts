import type {
  DescMessage,
  DescMethodUnary,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";
import type { Welcome } from "../gen/lucky/frame/v1/frame_pb.js";
import type { Entry } from "../gen/lucky/message/v1/entry_pb.js";
import type { Accepted, SendRequest } from "../gen/lucky/message/v1/message_pb.js";
import type { ClientEvents } from "./client-events.ts";
import type { ClientOptions } from "./client-options.ts";
import type { Clock } from "./clock.ts";
import { Calls } from "./connection/calls.ts";
import type { ServerFrameKind } from "./connection/connection.ts";
import { checkProgram } from "./connection/hello.ts";
import { type ClosedReason, closedError } from "./connection/next-step.ts";
import { ReconnectingSession, type SessionState } from "./connection/reconnecting-session.ts";
import type { Emitter } from "./events.ts";
import { ConversationLogs } from "./logs/conversation-logs.ts";
import { Cursors } from "./logs/cursors.ts";
import { changeOf, isLine } from "./messages/change.ts";
import { MessageHistory } from "./messages/message-history.ts";
import { MessageRanges } from "./messages/message-ranges.ts";
import { rateLimitOf } from "./rate-limit.ts";
import type { Rpc } from "./rpc/rpc.ts";
import type { TokenKeeper } from "./rpc/tokens.ts";
import { RpcSender } from "./sending/rpc-sender.ts";
import { SendQueue } from "./sending/send-queue.ts";
import { type ClientStore, MemoryStore, type MessageRange } from "./store.ts";
import type { TraceOptions } from "./trace-options.ts";

/** Default of the option `jumpEntries`. */
const JUMP_ENTRIES = 1_000;

export interface MessengerOptions {
  readonly clock: Clock;
  readonly rpc: Rpc;
  readonly tokens: TokenKeeper;
  readonly events: Pick<Emitter<ClientEvents>, "emit" | "next">;
  /** URL of the WebSocket to open. */
  readonly endpoint: (signal: AbortSignal) => Promise<string>;
  readonly client: ClientOptions;
}

/** The messages of a logged-in device: its session, the logs of its conversations, its sends. */
export class Messenger {
  readonly #options: MessengerOptions;
  readonly #store: ClientStore;
  readonly #session: ReconnectingSession;
  readonly #logs: ConversationLogs;
  readonly #ranges: MessageRanges;
  /** Messages of the past. */
  readonly history: MessageHistory;
  readonly #sendQueue: SendQueue;
  readonly #cursors: Cursors;
  readonly #calls: Calls;
  readonly #rpcSender: RpcSender;
  /** The load of the store; undefined while sends wait in it. */
  #restored: Promise<void> | undefined;
  #hasLogs = false;
  #closing: Promise<void> = Promise.resolve();
  #caughtUp: Promise<void> = Promise.resolve();
  #welcome: Welcome | undefined;
  #userId = "";

  constructor(options: MessengerOptions) {
    const { clock, client, events, rpc, tokens } = options;
    this.#options = options;
    this.#store = client.store ?? new MemoryStore();
    const program = { ...client, clientVersion: client.device.clientVersion };
    checkProgram(program);
    this.#session = new ReconnectingSession({
      clock,
      webSocket: client.webSocket ?? WebSocket,
      program,
      tokens,
      endpoint: options.endpoint,
      state: (state) => this.#enterState(state),
      opened: (welcome) => this.#opened(welcome),
      frame: (frame) => this.#receive(frame),
      lost: () => {
        this.#sendQueue.lost();
        this.#cursors.lost();
        this.#calls.lost();
      },
      tooOld: (info) => events.emit("clientTooOld", info),
    });
    this.#cursors = new Cursors(clock, (batch) => {
      const cursors = batch.map((cursor) => {
        return { ...cursor, epoch: this.#logs.epoch(cursor.conversationId ?? "") };
      });
      this.#session.send({ case: "acknowledge", value: { cursors } });
    });
    this.#calls = new Calls(clock, (value, trace) =>
      this.#session.send({ case: "rpc", value }, trace),
    );
    this.#sendQueue = new SendQueue({
      clock,
      store: this.#store,
      write: (frame) => this.#session.sendBytes(frame),
      accepted: (entry) => this.#accepted(entry),
      settled: (settled) => events.emit("settled", settled),
      resultTimedOut: () => this.#session.reconnect("a send had no result in time"),
    });
    this.#rpcSender = new RpcSender({
      clock,
      messages: rpc.messages,
      accepted: (entry) => this.#accepted(entry),
    });
    this.#ranges = new MessageRanges(this.#store);
    this.history = new MessageHistory({
      clock,
      history: rpc.history,
      ranges: this.#ranges,
      position: (conversationId) => this.#logs.last(conversationId),
      isOfLog: (...answer) => this.#logs.isOfLog(...answer),
      changed: (message) => events.emit("messageChanged", message),
    });
    this.#logs = new ConversationLogs({
      clock,
      messages: {
        sync: rpc.messages.sync,
        listEntries: rpc.messages.listEntries,
        getConversation: rpc.conversations.getConversation,
      },
      store: this.#store,
      history: client.history ?? "none",
      jumpEntries: client.catchUp === "jump" ? (client.jumpEntries ?? JUMP_ENTRIES) : undefined,
      ranges: this.#ranges,
      isOwn: (entry) => this.#isOwn(entry),
      message: (entry) => this.#entry(entry),
      jumped: (jump) => events.emit("jumped", jump),
      makeExact: () => this.history.makeAllExact(),
      conversation: (conversation) => events.emit("conversation", conversation),
      reset: (conversationId) => {
        this.#cursors.forget(conversationId);
        events.emit("logReset", { conversationId });
      },
      arrived: (conversationId, last) => this.#cursors.delivered(conversationId, last),
    });
  }

  get state(): SessionState {
    return this.#session.state;
  }

  /** The user of the last Welcome; empty before the first. */
  get userId(): string {
    return this.#userId;
  }

  set userId(userId: string) {
    this.#userId = userId;
  }

  /** The last Welcome, with the limits of the session; undefined before the first. */
  get welcome(): Welcome | undefined {
    return this.#welcome;
  }

  /** See LuckyClient. */
  async connect(): Promise<void> {
    this.#restored ??= this.#restore();
    await Promise.all([this.#restored, this.#closing]);
    if (this.state.kind === "open") return;
    const { events } = this.#options;
    const settled = events.next("state", ({ kind }) => kind === "open" || kind === "closed");
    this.#session.start();
    const state = await settled;
    if (state.kind === "closed") throw closedError(state.reason);
  }

  /** Resolves when all entries that were missed up to the last Welcome have been emitted. */
  caughtUp(): Promise<void> {
    return this.#caughtUp;
  }

  /** Closes the session until the next `connect`. */
  close(reason: ClosedReason = "by-caller"): Promise<void> {
    this.#cursors.flush();
    this.#closing = this.#session.stop(reason);
    return this.#closing;
  }

  /** Removes the sends without a result from the store, once the session is closed. */
  async dropSends(): Promise<void> {
    const { sends } = await this.#store.load();
    for (const { clientMessageId, target } of sends)
      this.#store.removeSend(clientMessageId, target);
  }

  send(request: SendRequest, trace: TraceOptions): Promise<Accepted> {
    const { state } = this;
    if (state.kind === "closed") return Promise.reject(closedError(state.reason));
    return this.#sendQueue.send(request, trace);
  }

  sendByRpc(request: SendRequest, trace: TraceOptions): Promise<Accepted> {
    return this.#rpcSender.send(request, trace);
  }

  markRead(conversationId: string, sequence: bigint): void {
    this.#cursors.read(conversationId, sequence);
  }

  typing(conversationId: string, typing: boolean): void {
    this.#session.send({ case: "typing", value: { conversationId, typing } });
  }

  /** The sequence up to which this device has all entries; undefined for an unknown conversation. */
  lastSequence(conversationId: string): bigint | undefined {
    return this.#logs.last(conversationId);
  }

  /** The ranges of messages that the application got without a gap. */
  ranges(conversationId: string): readonly MessageRange[] {
    return this.#ranges.of(conversationId);
  }

  /** Continues the open session with a fresh access token. */
  renew(accessToken: string): void {
    this.#session.renew(accessToken);
  }

  call<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    trace: TraceOptions,
  ): Promise<MessageShape<O>> {
    return this.#calls.call(method, request, trace);
  }

  async #restore(): Promise<void> {
    const stored = await this.#store.load();
    if (!this.#hasLogs) {
      this.#ranges.restore(stored);
      this.#logs.restore(stored);
    }
    this.#hasLogs = true;
    this.#sendQueue.restore(stored.sends);
  }

  #enterState(state: SessionState): void {
    if (state.kind === "closed") {
      this.#logs.stop();
      this.history.stop();
      const keep = this.#options.client.store !== undefined;
      this.#sendQueue.close(closedError(state.reason), { keep });
      if (keep) this.#restored = undefined;
    }
    this.#options.events.emit("state", state);
  }

  #opened(welcome: Welcome): void {
    const { clock, tokens } = this.#options;
    const { limits } = welcome;
    this.#welcome = welcome;
    this.#userId = welcome.userId;
    tokens.serverTime(Number(welcome.serverTimeMs));
    const rateLimit = rateLimitOf(welcome, clock);
    this.#sendQueue.open(welcome, rateLimit);
    this.#cursors.open(rateLimit, limits?.maxCursors);
    this.#calls.open(limits?.maxCallsInFlight);
    this.#caughtUp = this.#logs.sync();
    this.#caughtUp.catch(() => {}); // Callers of caughtUp() get the error.
  }

  #receive(frame: ServerFrameKind): void {
    const { events } = this.#options;
    switch (frame.case) {
      case "deliver":
        this.#logs.deliver(frame.value.entries);
        break;
      case "sendResults":
        for (const result of frame.value.results) this.#sendQueue.result(result);
        break;
      case "receipt":
        events.emit("receipt", frame.value);
        break;
      case "typing":
        events.emit("typing", frame.value);
        break;
      case "syncRequired":
        this.#logs.syncRequired(frame.value.conversationId, frame.value.lastSequence);
        break;
      case "rpcResult":
        this.#calls.result(frame.value);
        break;
      case "tokenExpiring":
        this.#session.tokenExpiring(Number(frame.value.expiresAtMs));
        break;
      case "securityNotice":
        events.emit("securityNotice", frame.value);
        break;
      case "kick":
        events.emit("kicked", frame.value);
        break;
    }
  }

  /** The next entry of a log. Those of unknown kinds that are no lines are for later versions. */
  #entry(entry: Entry): void {
    const { events } = this.#options;
    const change = changeOf(entry);
    if (change) events.emit("change", change);
    else if (isLine(entry)) events.emit("message", entry);
  }

  #isOwn(entry: Entry): boolean {
    if (entry.senderId !== this.#userId) return false;
    return this.#sendQueue.isOwn(entry) || this.#rpcSender.isOwn(entry);
  }

  #accepted(entry: Entry): void {
    entry.senderId = this.#userId;
    this.#logs.sent(entry);
  }
}
