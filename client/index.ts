/**
 * The entry of the package. Generated code that is not exported here, such as the messages of a service,
 * is under "@lucky-im/client/gen/…".
 */
export { DeviceClass, type Tokens } from "../gen/lucky/auth/v1/auth_pb.js";
export { ErrorReason } from "../gen/lucky/error/v1/error_pb.js";
export { CloseCode, Feature, type Kick, type Welcome } from "../gen/lucky/frame/v1/frame_pb.js";
export type { Content } from "../gen/lucky/message/v1/content_pb.js";
export { type Conversation, ConversationKind } from "../gen/lucky/message/v1/conversation_pb.js";
export type { Entry, MessageState } from "../gen/lucky/message/v1/entry_pb.js";
export type { Accepted, Receipt } from "../gen/lucky/message/v1/message_pb.js";
export type { User } from "../gen/lucky/user/v1/user_pb.js";
export { LuckyClient } from "./client.ts";
export type { ClientEvents } from "./client-events.ts";
export type { ClientOptions } from "./client-options.ts";
export type { Clock, Timer } from "./clock.ts";
export type { ClosedReason } from "./connection/next-step.ts";
export type { ClientTooOld, SessionState } from "./connection/reconnecting-session.ts";
export { CONTENT_KINDS, type Display, displayOf } from "./display.ts";
export { LuckyError, reasonOf } from "./error.ts";
export { IndexedDbStore } from "./indexed-db-store.ts";
export type { DeviceOptions } from "./login/device.ts";
export { beginQrLogin, type QrLoginOptions, type ShownQrLogin } from "./login/qr-login.ts";
export type { Jump } from "./logs/conversation-logs-options.ts";
export type { Change } from "./messages/change.ts";
export { ConversationMessages, type MessagePage } from "./messages/conversation-messages.ts";
export { applyChange, newerOf } from "./messages/fold.ts";
export type { Settled } from "./sending/send-queue.ts";
export type { SendContent, SendOptions, Target } from "./sending/send-request.ts";
export {
  type ClientStore,
  type LogPosition,
  MemoryStore,
  type MessageRange,
  type Stored,
  type StoredRanges,
  type StoredSend,
} from "./store.ts";
export type { TraceOptions } from "./trace-options.ts";
