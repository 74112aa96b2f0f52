import {
  create,
  type DescMethod,
  fromBinary,
  type Message,
  toBinary,
  toJsonString,
} from "@bufbuild/protobuf";
import { type Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { reasonOf } from "#platform/errors.ts";
import type { Role } from "#platform/identity/caller.ts";
import { SERVICES } from "#platform/rpc/contract.ts";
import { rulesOf } from "#platform/rpc/rules.ts";
import { RawDevice } from "../devices/raw-device.ts";
import { clientOf } from "../world/people.ts";

/** Every method of the contracts. */
export const methods = SERVICES.flatMap((service) => service.methods);
export const nameOf = (method: DescMethod) => rulesOf(method).name;
export const accessOf = (method: DescMethod) => rulesOf(method).access;

/** Result of a call. */
export interface Outcome {
  /** Name of the error's reason; "ok" for an answer; undefined for an error without a reason. */
  readonly reason: string | undefined;
  readonly code: Code | undefined;
  readonly text: string;
  /** The answer as JSON, the first one of a stream; empty without an answer. */
  readonly answer: string;
}

/** Protocols of a call to the gateway outside of a socket. */
export const RPC_PROTOCOLS = ["connect", "grpc"] as const;

export interface MethodCall {
  readonly token?: string | undefined;
  readonly request?: Message;
  readonly headers?: Record<string, string>;
  /** Connect when absent. */
  readonly protocol?: (typeof RPC_PROTOCOLS)[number];
  /**
   * The HTTP/2 connection of a gRPC call; one of its own when absent. The gateway accepts only some 20
   * of them a second from an address, so a test of many calls shares one.
   */
  readonly session?: Http2SessionManager;
}

/** Calls a method and awaits its answer; for a stream, the first answer. Never rejects. */
export async function callMethod(
  url: string,
  method: DescMethod,
  call: MethodCall = {},
): Promise<Outcome> {
  const ownSession =
    call.protocol === "grpc" && !call.session ? new Http2SessionManager(url) : undefined;
  const sessionManager = call.session ?? ownSession;
  const transport =
    call.protocol === "grpc" && createGrpcTransport({ baseUrl: url, sessionManager });
  const client = (transport
    ? createClient(method.parent, transport)
    : clientOf(url, method.parent)) as unknown as Record<
    string,
    (request: unknown, options: object) => unknown
  >;
  const request = call.request ?? create(method.input);
  const stop = new AbortController();
  const headers = new Headers(call.headers);
  if (call.token !== undefined) headers.set("authorization", `Bearer ${call.token}`);
  const options = { headers, signal: stop.signal };
  const streams =
    method.methodKind === "client_streaming" || method.methodKind === "bidi_streaming";
  const answered = (message: Message | undefined): Outcome => {
    const answer = message ? toJsonString(method.output, message) : "";
    return { reason: "ok", code: undefined, text: "", answer };
  };
  try {
    const given = streams ? streamOf(request) : request;
    const answer = client[method.localName]!(given, options);
    if (method.methodKind === "unary" || method.methodKind === "client_streaming") {
      return answered((await answer) as Message);
    }
    for await (const message of answer as AsyncIterable<Message>) return answered(message);
    return answered(undefined);
  } catch (error) {
    const { code, rawMessage } = ConnectError.from(error);
    const reason = reasonOf(error);
    const reasonName = reason === ErrorReason.UNSPECIFIED ? undefined : ErrorReason[reason];
    return { reason: reasonName, code, text: rawMessage, answer: "" };
  } finally {
    stop.abort();
    ownSession?.abort();
  }
}

/** Calls a method over a new socket. The reason is "ok" also when the call closed the session. */
export async function callMethodOverSocket(
  url: string,
  method: DescMethod,
  { token, request }: { token: string; request: Message },
): Promise<Outcome> {
  const device = await RawDevice.hello(url, token);
  const bytes = toBinary(method.input, request);
  device.send({ case: "rpc", value: { callId: "1", method: nameOf(method), request: bytes } });
  const result = await device.next("rpcResult").catch(() => undefined);
  await device.close();
  const none = { code: undefined, text: "", answer: "" };
  if (!result) return { ...none, reason: "ok" };
  const { outcome } = result;
  if (outcome.case === "response") {
    const answer = toJsonString(method.output, fromBinary(method.output, outcome.value));
    return { ...none, reason: "ok", answer };
  }
  const reason = outcome.value?.error?.reason ?? ErrorReason.UNSPECIFIED;
  const reasonName = reason === ErrorReason.UNSPECIFIED ? undefined : ErrorReason[reason];
  return { ...none, reason: reasonName, text: outcome.value?.text ?? "" };
}

async function* streamOf(request: Message): AsyncIterable<Message> {
  yield request;
}

/** All roles, from the least to the most privileged. */
export const ALL_ROLES: readonly Role[] = ["bot", "user", "operator", "admin"];
