import type {
  DescMessage,
  DescMethodUnary,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";
import type { Tokens } from "../gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "../gen/lucky/error/v1/error_pb.js";
import type { Welcome } from "../gen/lucky/frame/v1/frame_pb.js";
import type { Entry } from "../gen/lucky/message/v1/entry_pb.js";
import type { Accepted } from "../gen/lucky/message/v1/message_pb.js";
import type { User } from "../gen/lucky/user/v1/user_pb.js";
import type { ClientEvents } from "./client-events.ts";
import type { ClientOptions, SendOptions } from "./client-options.ts";
import { type Clock, systemClock } from "./clock.ts";
import { Calls } from "./connection/calls.ts";
import type { ServerFrameKind } from "./connection/connection.ts";
import { resolveSocketUrl } from "./connection/endpoint.ts";
import {
  closedError,
  ReconnectingSession,
  type SessionState,
} from "./connection/reconnecting-session.ts";
import { reasonOf } from "./error.ts";
import { Emitter } from "./events.ts";
import { Credentials } from "./login/credentials.ts";
import { OwnLogins } from "./login/own-logins.ts";
import { ConversationLogs } from "./logs/conversation-logs.ts";
import { Cursors } from "./logs/cursors.ts";
import { rateLimitOf } from "./rate-limit.ts";
import { anonymousAuth, createRpc, type Rpc } from "./rpc/rpc.ts";
import { TokenKeeper } from "./rpc/tokens.ts";
import { ClientMessageIds } from "./sending/client-message-ids.ts";
import { RpcSender } from "./sending/rpc-sender.ts";
import { SendQueue } from "./sending/send-queue.ts";
import { type SendContent, sendRequest, type Target } from "./sending/send-request.ts";
import { type ClientStore, MemoryStore } from "./store.ts";

/**
 * A device of one user: logs in, keeps a session open, sends, receives, catches up.
 *
 * ```ts
 * const client = new LuckyClient({ url: "http://127.0.0.1:9191", device });
 * client.on("message", (entry) => console.log(entry.sequence, entry.content));
 * await client.login("ana", password);
 * await client.connect();
 * await client.send({ userId }, "hi");
 * ```
 *
 * Passwords are encrypted with WebCrypto, which browsers offer on https and localhost only.
 */
export class LuckyClient extends Emitter<ClientEvents> {
  /**
   * Service clients: calls carry the user's access token, refreshed as needed. They throw
   * ConnectErrors.
   */
  readonly users: Rpc["users"];
  readonly devices: Rpc["devices"];
  readonly messages: Rpc["messages"];
  readonly groups: Rpc["groups"];
  readonly presence: Rpc["presence"];
  readonly auth: Rpc["auth"];
  /** Makes and ends logins of the user, with the proof that such calls need. */
  readonly logins: OwnLogins;

  readonly #options: ClientOptions;
  readonly #clock: Clock;
  readonly #store: ClientStore;
  readonly #rpc: Rpc;
  readonly #credentials: Credentials;
  readonly #tokens: TokenKeeper;
  readonly #session: ReconnectingSession;
  readonly #logs: ConversationLogs;
  readonly #sendQueue: SendQueue;
  readonly #cursors: Cursors;
  readonly #calls: Calls;
  readonly #clientMessageIds: ClientMessageIds;
  readonly #rpcSender: RpcSender;
  #restored: Promise<void> | undefined;
  #closing: Promise<void> = Promise.resolve();
  #caughtUp: Promise<void> = Promise.resolve();
  #userId = "";

  constructor(options: ClientOptions) {
    super();
    const { url, device } = options;
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#store = options.store ?? new MemoryStore();
    this.#clientMessageIds = new ClientMessageIds(() => this.#clock.now());
    this.#credentials = new Credentials(anonymousAuth(url));
    this.#tokens = new TokenKeeper({
      clock: this.#clock,
      exchange: (refreshToken) => this.#exchange(refreshToken),
      changed: (tokens) => {
        this.#session.renew(tokens.accessToken);
        this.emit("tokens", tokens);
      },
    });
    this.#rpc = createRpc(url, this.#tokens);
    this.users = this.#rpc.users;
    this.devices = this.#rpc.devices;
    this.messages = this.#rpc.messages;
    this.groups = this.#rpc.groups;
    this.presence = this.#rpc.presence;
    this.auth = this.#rpc.auth;
    this.logins = new OwnLogins(this.#rpc, {
      credentials: this.#credentials,
      tokens: this.#tokens,
    });
    this.#session = new ReconnectingSession({
      clock: this.#clock,
      webSocket: options.webSocket ?? WebSocket,
      clientVersion: device.clientVersion ?? "",
      tokens: this.#tokens,
      endpoint: (signal) => this.endpoint(signal),
      state: (state) => this.#enterState(state),
      opened: (welcome) => this.#opened(welcome),
      frame: (frame) => this.#receive(frame),
      lost: () => {
        this.#sendQueue.lost();
        this.#cursors.lost();
        this.#calls.lost();
      },
    });
    this.#cursors = new Cursors(this.#clock, (cursors) => {
      this.#session.send({ case: "acknowledge", value: { cursors } });
    });
    this.#calls = new Calls(this.#clock, (value) => this.#session.send({ case: "rpc", value }));
    this.#sendQueue = new SendQueue({
      clock: this.#clock,
      store: this.#store,
      write: (frame) => this.#session.sendBytes(frame),
      accepted: (entry) => this.#accepted(entry),
      settled: (settled) => this.emit("settled", settled),
      resultTimedOut: () => this.#session.reconnect("a send had no result in time"),
    });
    this.#rpcSender = new RpcSender({
      clock: this.#clock,
      messages: this.messages,
      accepted: (entry) => this.#accepted(entry),
    });
    this.#logs = new ConversationLogs({
      clock: this.#clock,
      messages: this.messages,
      store: this.#store,
      history: options.history ?? "none",
      isOwn: (entry) => this.#isOwn(entry),
      message: (entry) => this.emit("message", entry),
      conversation: (conversation) => this.emit("conversation", conversation),
      arrived: (conversationId, last) => this.#cursors.delivered(conversationId, last),
    });
  }

  /** The logged-in user; empty before the first login or, after `resume`, before Welcome. */
  get userId(): string {
    return this.#userId;
  }

  get state(): SessionState {
    return this.#session.state;
  }

  /** The current tokens; undefined when no user is logged in. */
  get tokens(): Tokens | undefined {
    return this.#tokens.current;
  }

  /** Creates an account; does not log in. Throws USER_NAME_TAKEN or PASSWORD_WEAK. */
  register(userName: string, password: string, displayName = ""): Promise<User> {
    return this.#credentials.register(userName, password, displayName);
  }

  /** Logs the device in. Throws CREDENTIALS_INVALID. */
  async login(userName: string, password: string): Promise<User> {
    const { device } = this.#options;
    const { user, tokens } = await this.#credentials.login(userName, password, device);
    this.#userId = user.userId;
    this.#tokens.set(tokens, { fresh: true });
    return user;
  }

  /** Continues an earlier login with its tokens. */
  resume(tokens: Tokens): void {
    this.#tokens.set(tokens, { fresh: false });
  }

  /**
   * Opens a session and keeps one open: reconnects with back-off until `close`, or until the
   * server closes it for a ClosedReason. Resolves at the first Welcome, without a time-out; throws
   * when the login is over.
   */
  async connect(): Promise<void> {
    this.#restored ??= this.#restore();
    await Promise.all([this.#restored, this.#closing]);
    if (this.state.kind === "open") return;
    const settled = this.next("state", ({ kind }) => kind === "open" || kind === "closed");
    this.#session.start();
    const state = await settled;
    if (state.kind === "closed") throw closedError(state.reason);
  }

  /** Resolves when all entries that were missed up to the last Welcome have been emitted. */
  caughtUp(): Promise<void> {
    return this.#caughtUp;
  }

  /** Closes the session. Sends without a result are rejected; their outcome is unknown. */
  close(): Promise<void> {
    this.#cursors.flush();
    this.#closing = this.#session.stop("by-caller");
    return this.#closing;
  }

  /** Ends the login and closes the session. */
  async logout(): Promise<void> {
    await this.auth.logout({});
    await this.close();
    this.#tokens.clear();
  }

  /**
   * Sends a message. Resolves when it is durable in the log; rejects with a LuckyError when it is
   * refused. While no session is open, the message is queued. It is retried under its
   * client_message_id until it has a result. Messages to one target keep the order of the calls.
   */
  send(target: Target, content: SendContent, options: SendOptions = {}): Promise<Accepted> {
    const { state } = this;
    if (state.kind === "closed") return Promise.reject(closedError(state.reason));
    return this.#sendQueue.send(sendRequest(target, content, this.#clientMessageIdOf(options)));
  }

  /** Like `send`, over RPC: needs no session. */
  sendByRpc(target: Target, content: SendContent, options: SendOptions = {}): Promise<Accepted> {
    return this.#rpcSender.send(sendRequest(target, content, this.#clientMessageIdOf(options)));
  }

  /** Reports that the user has read the conversation up to the sequence. */
  markRead(conversationId: string, sequence: bigint): void {
    this.#cursors.read(conversationId, sequence);
  }

  /** Signals that the user types, or stopped. Repeat it: it expires after 6 seconds. */
  typing(conversationId: string, typing = true): void {
    this.#session.send({ case: "typing", value: { conversationId, typing } });
  }

  /** The sequence up to which this device has all entries; undefined for an unknown conversation. */
  lastSequence(conversationId: string): bigint | undefined {
    return this.#logs.last(conversationId);
  }

  /**
   * Resolves the URL of the WebSocket; falls back to /ws on the configured address when the call
   * fails. Throws when the login is over.
   */
  endpoint(signal?: AbortSignal): Promise<string> {
    return resolveSocketUrl(this.#rpc.endpoints, this.#options.url, signal);
  }

  /** Calls a public method over the open session, such as `MessageService.method.listEntries`. */
  callOverSocket<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
  ): Promise<MessageShape<O>> {
    return this.#calls.call(method, request);
  }

  #clientMessageIdOf(options: SendOptions): string {
    return options.clientMessageId ?? this.#clientMessageIds.next();
  }

  async #restore(): Promise<void> {
    const stored = await this.#store.load();
    this.#logs.restore(stored);
    this.#sendQueue.restore(stored.sends);
  }

  /** Closes the session too when the login is over. */
  async #exchange(refreshToken: string): Promise<Tokens> {
    try {
      return await this.#credentials.exchange(refreshToken);
    } catch (error) {
      if (reasonOf(error) === ErrorReason.REFRESH_TOKEN_INVALID)
        void this.#session.stop("login-over");
      throw error;
    }
  }

  #enterState(state: SessionState): void {
    if (state.kind === "closed") {
      this.#logs.stop();
      this.#sendQueue.close(closedError(state.reason));
    }
    this.emit("state", state);
  }

  #opened(welcome: Welcome): void {
    this.#userId = welcome.userId;
    this.#tokens.serverTime(Number(welcome.serverTimeMs));
    const rateLimit = rateLimitOf(welcome, this.#clock);
    this.#sendQueue.open(welcome, rateLimit);
    this.#cursors.open(rateLimit);
    this.#caughtUp = this.#logs.sync();
    this.#caughtUp.catch(() => {}); // Callers of caughtUp() get the error.
  }

  #receive(frame: ServerFrameKind): void {
    switch (frame.case) {
      case "deliver":
        this.#logs.deliver(frame.value.entries);
        break;
      case "sendResults":
        for (const result of frame.value.results) this.#sendQueue.result(result);
        break;
      case "receipt":
        this.emit("receipt", frame.value);
        break;
      case "typing":
        this.emit("typing", frame.value);
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
        this.emit("securityNotice", frame.value);
        break;
      case "kick":
        this.emit("kicked", frame.value);
        break;
    }
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
