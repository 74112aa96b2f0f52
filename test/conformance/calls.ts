import {
  create,
  type DescMessage,
  type DescMethodUnary,
  type DescService,
  fromBinary,
  fromJson,
  type Message,
  toJson,
} from "@bufbuild/protobuf";
import { EmptySchema } from "@bufbuild/protobuf/wkt";
import { createClient } from "@connectrpc/connect";
import {
  createConnectTransport,
  createGrpcTransport,
  Http2SessionManager,
} from "@connectrpc/connect-node";
import { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import { DeviceService } from "#gen/lucky/auth/v1/device_pb.js";
import { EndpointService } from "#gen/lucky/frame/v1/frame_pb.js";
import { GroupService } from "#gen/lucky/group/v1/group_pb.js";
import { ChangeService } from "#gen/lucky/message/v1/change_pb.js";
import { ConversationService } from "#gen/lucky/message/v1/conversation_pb.js";
import { MessageService } from "#gen/lucky/message/v1/message_pb.js";
import { PresenceService } from "#gen/lucky/presence/v1/presence_pb.js";
import { UserService } from "#gen/lucky/user/v1/user_pb.js";
import type { LuckyClient } from "../../client/client.ts";
import { sealPassword } from "../../client/login/password.ts";
import type { Json } from "./values.ts";
import { bytesOf } from "./vectors.ts";

const SERVICES: readonly DescService[] = [
  AuthService,
  DeviceService,
  EndpointService,
  GroupService,
  ChangeService,
  ConversationService,
  MessageService,
  PresenceService,
  UserService,
];
const TIMEOUT_MS = 60_000;

/** Calls of methods by their names, over each transport, with messages in JSON. */
export class Calls {
  readonly #baseUrl: string;
  readonly #sessionManager: Http2SessionManager;

  constructor(baseUrl: string) {
    this.#baseUrl = baseUrl;
    this.#sessionManager = new Http2SessionManager(baseUrl);
  }

  close(): void {
    this.#sessionManager.abort();
  }

  async call(over: string, step: Record<string, Json>, as: LuckyClient | undefined): Promise<Json> {
    const method = methodOf(String(step.call));
    const input =
      step.request_hex !== undefined
        ? fromBinary(method.input, bytesOf(String(step.request_hex)))
        : fromJson(method.input, await this.#sealed(step.request ?? {}));
    const timeoutMs = Number(step.timeout_ms ?? TIMEOUT_MS);
    const output = await this.#invoke(over, { method, input, as, timeoutMs });
    return toJson(method.output, output) as Json;
  }

  async #invoke(
    over: string,
    call: {
      method: DescMethodUnary;
      input: Message;
      as: LuckyClient | undefined;
      timeoutMs: number;
    },
  ): Promise<Message> {
    const { method, input, as, timeoutMs } = call;
    if (over === "socket") return await as!.callOverSocket(method, input as never);
    const transport = this.#transport(over);
    const token = as?.tokens?.accessToken;
    const headers: HeadersInit = token === undefined ? [] : [["authorization", `Bearer ${token}`]];
    const signal = undefined;
    return (await transport.unary(method, signal, timeoutMs, headers, input)).message;
  }

  #transport(over: string) {
    const baseUrl = this.#baseUrl;
    if (over === "connect")
      return createConnectTransport({ baseUrl, httpVersion: "1.1", useBinaryFormat: false });
    if (over !== "grpc") throw new Error(`unknown transport "${over}"`);
    return createGrpcTransport({ baseUrl, sessionManager: this.#sessionManager });
  }

  /** Replaces each {$password: text} by an EncryptedPassword. */
  async #sealed(value: Json): Promise<Json> {
    if (value === null || typeof value !== "object" || Array.isArray(value)) return value;
    if ("$password" in value) {
      const auth = createClient(AuthService, this.#transport("connect"));
      const sealed = await sealPassword(await auth.getPublicKey({}), String(value.$password));
      const ciphertext = Buffer.from(sealed.ciphertext).toString("base64");
      return { keyId: sealed.keyId, ciphertext };
    }
    const fields = Object.entries(value).map(
      async ([key, item]) => [key, await this.#sealed(item)] as const,
    );
    return Object.fromEntries(await Promise.all(fields));
  }
}

/** A method of the contract; one that the contract does not have takes and returns no field. */
function methodOf(path: string): DescMethodUnary {
  const [typeName = "", name = ""] = path.split("/");
  const service = SERVICES.find((one) => one.typeName === typeName);
  if (!service) throw new Error(`unknown service "${typeName}"`);
  const found = service.methods.find((one) => one.name === name);
  if (found?.methodKind === "unary") return found as DescMethodUnary;
  const unknown = { name, localName: name, input: EmptySchema, output: EmptySchema };
  return { ...(service.methods[0] as DescMethodUnary), ...unknown };
}

/** A message from JSON. */
export function messageFrom<Desc extends DescMessage>(schema: Desc, json: Json) {
  return json === null ? create(schema) : fromJson(schema, json);
}
