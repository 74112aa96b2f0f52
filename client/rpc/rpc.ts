import { type Client, createClient, type Interceptor } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-web";
import { AuthService } from "../../gen/lucky/auth/v1/auth_pb.js";
import { DeviceService } from "../../gen/lucky/auth/v1/device_pb.js";
import { ErrorReason } from "../../gen/lucky/error/v1/error_pb.js";
import { EndpointService } from "../../gen/lucky/frame/v1/frame_pb.js";
import { GroupService } from "../../gen/lucky/group/v1/group_pb.js";
import { ChangeService } from "../../gen/lucky/message/v1/change_pb.js";
import { ConversationService } from "../../gen/lucky/message/v1/conversation_pb.js";
import { HistoryService } from "../../gen/lucky/message/v1/history_pb.js";
import { MessageService } from "../../gen/lucky/message/v1/message_pb.js";
import { PresenceService } from "../../gen/lucky/presence/v1/presence_pb.js";
import { UserService } from "../../gen/lucky/user/v1/user_pb.js";
import { reasonOf } from "../error.ts";
import type { TokenKeeper } from "./tokens.ts";

/** Deadline of a call, unless the caller gives another. */
const TIMEOUT_MS = 10_000;

/** A client for the methods that need no token. */
export function anonymousAuth(url: string): Client<typeof AuthService> {
  return createClient(AuthService, transport(url, []));
}

/** Clients of every public service; calls carry the user's access token. */
export interface Rpc {
  readonly auth: Client<typeof AuthService>;
  readonly users: Client<typeof UserService>;
  readonly devices: Client<typeof DeviceService>;
  readonly messages: Client<typeof MessageService>;
  readonly conversations: Client<typeof ConversationService>;
  readonly changes: Client<typeof ChangeService>;
  readonly history: Client<typeof HistoryService>;
  readonly groups: Client<typeof GroupService>;
  readonly presence: Client<typeof PresenceService>;
  readonly endpoints: Client<typeof EndpointService>;
}

/**
 * Creates the clients. A call that fails with TOKEN_EXPIRED is retried once, with a refreshed
 * token.
 */
export function createRpc(url: string, tokens: TokenKeeper): Rpc {
  const own = transport(url, [withToken(tokens)]);
  return {
    auth: createClient(AuthService, own),
    users: createClient(UserService, own),
    devices: createClient(DeviceService, own),
    messages: createClient(MessageService, own),
    conversations: createClient(ConversationService, own),
    changes: createClient(ChangeService, own),
    history: createClient(HistoryService, own),
    groups: createClient(GroupService, own),
    presence: createClient(PresenceService, own),
    endpoints: createClient(EndpointService, own),
  };
}

function transport(baseUrl: string, interceptors: Interceptor[]) {
  return createConnectTransport({
    baseUrl,
    interceptors,
    useBinaryFormat: true,
    defaultTimeoutMs: TIMEOUT_MS,
  });
}

function withToken(tokens: TokenKeeper): Interceptor {
  return (next) => async (request) => {
    const token = await tokens.access();
    request.header.set("authorization", `Bearer ${token}`);
    try {
      return await next(request);
    } catch (error) {
      if (reasonOf(error) !== ErrorReason.TOKEN_EXPIRED) throw error;
      request.header.set("authorization", `Bearer ${await tokens.refresh(token)}`);
      return next(request);
    }
  };
}
