import { create, type DescMessage, type DescMethodUnary, isMessage, type MessageInitShape, type MessageShape } from "@bufbuild/protobuf";
import type { Client } from "@connectrpc/connect";
import type { AuthService, DeviceClass, Tokens } from "../gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "../gen/lucky/error/v1/error_pb.js";
import type { Kick, Welcome } from "../gen/lucky/frame/v1/frame_pb.js";
import type { GroupService } from "../gen/lucky/group/v1/group_pb.js";
import { type Content, ContentSchema } from "../gen/lucky/message/v1/content_pb.js";
import {
  type Accepted,
  type Conversation,
  type Entry,
  type MessageService,
  type Receipt,
  type SendRequest,
  SendRequestSchema,
} from "../gen/lucky/message/v1/message_pb.js";
import type { PresenceService, Typing } from "../gen/lucky/presence/v1/presence_pb.js";
import type { User, UserService } from "../gen/lucky/user/v1/user_pb.js";
import { Calls } from "./calls.ts";
import { type Clock, systemClock } from "./clock.ts";
import type { ServerKind } from "./connection.ts";
import { Cursors } from "./cursors.ts";
import { LuckyError } from "./error.ts";
import { Emitter } from "./events.ts";
import { KeyMaker } from "./key.ts";
import { type ClosedReason, Link, type LinkState } from "./link.ts";
import { Login } from "./login.ts";
import { Logs } from "./logs.ts";
import { entryOf, isEntryOf, Outbox, type Settled } from "./outbox.ts";
import { createRpc, type Rpc } from "./rpc.ts";
import { type ClientStore, MemoryStore } from "./store.ts";

/** The installation that a client speaks for. */
export interface DeviceOptions {
  /** Chosen once and kept; 1 to 64 characters of A-Z a-z 0-9 . _ - */
  readonly deviceId: string;
  readonly deviceClass: DeviceClass;
  /** Shown to the user in the list of devices. */
  readonly deviceName?: string;
  /** Name and version of the program, for the operator's eyes. */
  readonly clientVersion?: string;
}

export interface ClientOptions {
  /** Address of Lucky, such as "https://chat.example.org". */
  readonly url: string;
  readonly device: DeviceOptions;
  /** Where to keep cursors and unanswered sends; memory when not given. One store a user. */
  readonly store?: ClientStore;
  /**
   * Where a device whose store is empty begins: "none" (the default) after what the user's other
   * devices have received, "all" at the first entry that the user may see.
   */
  readonly history?: "none" | "all";
  readonly clock?: Clock;
  readonly webSocket?: typeof WebSocket;
}

/** Where a message goes: to a user directly, or to a conversation (a group id is one). */
export type Target = { readonly userId: string } | { readonly conversationId: string };

/** What a client tells. */
export interface ClientEvents {
  /**
   * The next entry of a conversation: in order, once, without a gap. Not for what this very client
   * sent (its promise says where that is in the log); for what the user's other devices sent, yes.
   */
  message: Entry;
  receipt: Receipt;
  /** Lapses after 6 seconds. */
  typing: Typing;
  /** A conversation changed while the device was away, or is new. */
  conversation: Conversation;
  state: LinkState;
  /** The server is about to close the session, and why. */
  kicked: Kick;
  /** Any send got its result, also one that an earlier run left in the store. */
  settled: Settled;
  /** New tokens, to be kept for `resume`: the refresh token before them is used up. */
  tokens: Tokens;
}

/** A device of a user. */
export class LuckyClient extends Emitter<ClientEvents> {
  /** Service clients: calls carry the user's token, refreshed as needed. They throw ConnectErrors. */
  readonly users: Client<typeof UserService>;
  readonly messages: Client<typeof MessageService>;
  readonly groups: Client<typeof GroupService>;
  readonly presence: Client<typeof PresenceService>;
  readonly auth: Client<typeof AuthService>;

  readonly #url: string;
  readonly #store: ClientStore;
  readonly #rpc: Rpc;
  readonly #login: Login;
  readonly #link: Link;
  readonly #logs: Logs;
  readonly #outbox: Outbox;
  readonly #cursors: Cursors;
  readonly #calls: Calls;
  readonly #keys: KeyMaker;
  /** Sends over RPC without a result, by key. */
  readonly #rpcSends = new Map<string, SendRequest>();
  #restored = false;
  #userId = "";
  #caughtUp: Promise<void> = Promise.resolve();
}
