import type {
  DescMessage,
  DescMethodUnary,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";
import type { Tokens } from "../gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "../gen/lucky/error/v1/error_pb.js";
import type { Welcome } from "../gen/lucky/frame/v1/frame_pb.js";
import type { Accepted } from "../gen/lucky/message/v1/message_pb.js";
import type { User } from "../gen/lucky/user/v1/user_pb.js";
import type { ClientEvents } from "./client-events.ts";
import type { ClientOptions } from "./client-options.ts";
import { systemClock } from "./clock.ts";
import { resolveSocketUrl } from "./connection/endpoint.ts";
import type { SessionState } from "./connection/reconnecting-session.ts";
import { reasonOf } from "./error.ts";
import { Emitter } from "./events.ts";
import { Credentials } from "./login/credentials.ts";
import { OwnLogins } from "./login/own-logins.ts";
import type { MessagePage } from "./messages/conversation-messages.ts";
import { Messenger } from "./messenger.ts";
import { anonymousAuth, createRpc, type Rpc } from "./rpc/rpc.ts";
import { TokenKeeper } from "./rpc/tokens.ts";
import { ClientMessageIds } from "./sending/client-message-ids.ts";
import {
  type SendContent,
  type SendOptions,
  sendRequest,
  type Target,
} from "./sending/send-request.ts";
import type { MessageRange } from "./store.ts";
import type { TraceOptions } from "./trace-options.ts";

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
  readonly conversations: Rpc["conversations"];
  readonly changes: Rpc["changes"];
  readonly history: Rpc["history"];
  readonly groups: Rpc["groups"];
  readonly presence: Rpc["presence"];
  readonly auth: Rpc["auth"];
  /** Makes and ends logins of the user, with the proof that such calls need. */
  readonly logins: OwnLogins;

  readonly #options: ClientOptions;
  readonly #rpc: Rpc;
  readonly #credentials: Credentials;
  readonly #tokens: TokenKeeper;
  readonly #messenger: Messenger;
  readonly #clientMessageIds: ClientMessageIds;

  /** Throws INVALID_ARGUMENT when the server would not accept the name or the version of the program. */
  constructor(options: ClientOptions) {
    super();
    const { url, clock = systemClock } = options;
    this.#options = options;
    this.#clientMessageIds = new ClientMessageIds(() => clock.now());
    this.#credentials = new Credentials(anonymousAuth(url), clock);
    this.#tokens = new TokenKeeper({
      clock,
      exchange: (refreshToken) => this.#exchange(refreshToken),
      changed: (tokens) => {
        this.#messenger.renew(tokens.accessToken);
        this.emit("tokens", tokens);
      },
    });
    this.#rpc = createRpc(url, this.#tokens);
    this.users = this.#rpc.users;
    this.devices = this.#rpc.devices;
    this.messages = this.#rpc.messages;
    this.conversations = this.#rpc.conversations;
    this.changes = this.#rpc.changes;
    this.history = this.#rpc.history;
    this.groups = this.#rpc.groups;
    this.presence = this.#rpc.presence;
    this.auth = this.#rpc.auth;
    this.logins = new OwnLogins(this.#rpc, {
      credentials: this.#credentials,
      tokens: this.#tokens,
    });
    this.#messenger = new Messenger({
      clock,
      rpc: this.#rpc,
      tokens: this.#tokens,
      events: this,
      endpoint: (signal) => this.endpoint(signal),
      client: options,
    });
  }

  /** The logged-in user; empty before the first login or, after `resume`, before Welcome. */
  get userId(): string {
    return this.#messenger.userId;
  }

  get state(): SessionState {
    return this.#messenger.state;
  }

  /** The current tokens; undefined when no user is logged in. */
  get tokens(): Tokens | undefined {
    return this.#tokens.current;
  }

  /**
   * The server's last Welcome: its limits, and the kinds of content that it accepts. Undefined before
   * the first session.
   */
  get welcome(): Welcome | undefined {
    return this.#messenger.welcome;
  }

  /**
   * Creates an account; does not log in. Retried when an answer is lost, without a second account.
   * Throws USER_NAME_TAKEN, PASSWORD_WEAK, or UNAVAILABLE when its outcome is unknown.
   */
  register(userName: string, password: string, displayName = ""): Promise<User> {
    return this.#credentials.register(userName, password, displayName);
  }

  /** Logs the device in. Throws CREDENTIALS_INVALID. */
  async login(userName: string, password: string): Promise<User> {
    const { device } = this.#options;
    const { user, tokens } = await this.#credentials.login(userName, password, device);
    this.#messenger.userId = user.userId;
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
  connect(): Promise<void> {
    return this.#messenger.connect();
  }

  /** Resolves when all entries that were missed up to the last Welcome have been emitted. */
  caughtUp(): Promise<void> {
    return this.#messenger.caughtUp();
  }

  /**
   * Closes the session. Sends without a result are rejected; their outcome is unknown. With a store they
   * stay in it: the next `connect`, of this client or of the next run, sends them, and `settled` tells
   * their results.
   */
  close(): Promise<void> {
    return this.#messenger.close();
  }

  /** Ends the login and closes the session. Sends without a result are removed from the store. */
  async logout(): Promise<void> {
    await this.auth.logout({});
    await this.close();
    await this.#messenger.dropSends();
    this.#tokens.clear();
  }

  /**
   * Sends a message. Resolves when it is durable in the log; rejects with a LuckyError when it is
   * refused. While no session is open, the message is queued. It is retried under its
   * client_message_id until it has a result. Messages to one target keep the order of the calls.
   */
  send(target: Target, content: SendContent, options: SendOptions = {}): Promise<Accepted> {
    return this.#messenger.send(this.#requestOf(target, content, options), options);
  }

  /** Like `send`, over RPC: needs no session. */
  sendByRpc(target: Target, content: SendContent, options: SendOptions = {}): Promise<Accepted> {
    return this.#messenger.sendByRpc(this.#requestOf(target, content, options), options);
  }

  /** Reports that the user has read the conversation up to the sequence. */
  markRead(conversationId: string, sequence: bigint): void {
    this.#messenger.markRead(conversationId, sequence);
  }

  /** Signals that the user types, or stopped. Repeat it: it expires after 6 seconds. */
  typing(conversationId: string, typing = true): void {
    this.#messenger.typing(conversationId, typing);
  }

  /** The sequence up to which this device has all entries; undefined for an unknown conversation. */
  lastSequence(conversationId: string): bigint | undefined {
    return this.#messenger.lastSequence(conversationId);
  }

  /**
   * Reads the messages before a sequence, the newest ones when it is absent: at most `size` (1 to 100), and
   * fewer where the log has many changes; the next older ones are before the page's `low`, down to 1. Emits
   * nothing. When messages of the page change during the call, `messageChanged` follows. Throws a LuckyError.
   */
  messagesBefore(conversationId: string, before?: bigint, size?: number): Promise<MessagePage> {
    return this.#messenger.history.before(conversationId, before, size);
  }

  /**
   * The ranges of messages that were emitted, or returned by `messagesBefore`, without a gap, and the change
   * up to which they are exact.
   */
  ranges(conversationId: string): readonly MessageRange[] {
    return this.#messenger.ranges(conversationId);
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
    options: TraceOptions = {},
  ): Promise<MessageShape<O>> {
    return this.#messenger.call(method, request, options);
  }

  #requestOf(target: Target, content: SendContent, options: SendOptions) {
    const clientMessageId = options.clientMessageId ?? this.#clientMessageIds.next();
    return sendRequest(target, content, { ...options, clientMessageId });
  }

  /** Closes the session too when the login is over. */
  async #exchange(refreshToken: string): Promise<Tokens> {
    try {
      return await this.#credentials.exchange(refreshToken);
    } catch (error) {
      if (reasonOf(error) === ErrorReason.REFRESH_TOKEN_INVALID)
        void this.#messenger.close("login-over");
      throw error;
    }
  }
}
