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
import { generateKeyPair, type JWTPayload, SignJWT, UnsecuredJWT } from "jose";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { reasonOf } from "#platform/errors.ts";
import type { Role } from "#platform/identity/caller.ts";
import { SERVICES } from "#platform/rpc/contract.ts";
import { rulesOf } from "#platform/rpc/rules.ts";
import { callers } from "../people.ts";
import { RawDevice } from "../raw.ts";
import type { Sign } from "../signing.ts";

/** Every method of the contracts. */
export const methods = SERVICES.flatMap((service) => service.methods);
export const nameOf = (method: DescMethod) => rulesOf(method).name;
export const accessOf = (method: DescMethod) => rulesOf(method).access;

/** How a call ended. */
export interface Outcome {
  /** Name of the reason; "ok" for an answer; undefined for a failure without a reason. */
  readonly reason: string | undefined;
  readonly code: Code | undefined;
  readonly text: string;
  /** The answer, or the first one of a stream, as JSON; empty for none. */
  readonly answer: string;
}

/** How a call gets to the gateway outside of a socket. */
export const RPC_WAYS = ["connect", "grpc"] as const;

export interface WalkCall {
  readonly token?: string | undefined;
  readonly request?: Message;
  readonly headers?: Record<string, string>;
  /** Connect, as curl speaks it, when absent. */
  readonly way?: (typeof RPC_WAYS)[number];
}

/** Calls a method, unary or a stream, of which it awaits the first answer. */
export async function outcomeOf(
  url: string,
  method: DescMethod,
  call: WalkCall = {},
): Promise<Outcome> {
  const lines = call.way === "grpc" ? new Http2SessionManager(url) : undefined;
  const transport = lines && createGrpcTransport({ baseUrl: url, sessionManager: lines });
  const client = (transport
    ? createClient(method.parent, transport)
    : callers(url, method.parent)) as unknown as Record<
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
    const given = streams ? onlyOf(request) : request;
    const answer = client[method.localName]!(given, options);
    if (method.methodKind === "unary" || method.methodKind === "client_streaming") {
      return answered((await answer) as Message);
    }
    for await (const message of answer as AsyncIterable<Message>) return answered(message);
    return answered(undefined);
  } catch (error) {
    const { code, rawMessage } = ConnectError.from(error);
    const reason = reasonOf(error);
    const known = reason === ErrorReason.UNSPECIFIED ? undefined : ErrorReason[reason];
    return { reason: known, code, text: rawMessage, answer: "" };
  } finally {
    stop.abort();
    lines?.abort();
  }
}

/** Calls a method over a socket of its own; "ok" also for a call that ended the session. */
export async function socketOutcomeOf(
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
  const known = reason === ErrorReason.UNSPECIFIED ? undefined : ErrorReason[reason];
  return { ...none, reason: known, text: outcome.value?.text ?? "" };
}

async function* onlyOf(request: Message): AsyncIterable<Message> {
  yield request;
}

/** A token that must not get anywhere, and the reason that it is refused for. */
export interface BadToken {
  readonly what: string;
  readonly token: string | undefined;
  readonly reason: "TOKEN_INVALID" | "TOKEN_EXPIRED" | "TOKEN_REVOKED";
}

/**
 * What can be wrong with a token. `valid` is a good one; `sign` signs with the system's own key, so
 * that nothing but what is said to be wrong is wrong.
 */
export async function badTokens(valid: string, sign: Sign): Promise<BadToken[]> {
  const [head, payload, signature] = valid.split(".") as [string, string, string];
  const header = JSON.parse(Buffer.from(head, "base64url").toString());
  const claims: JWTPayload = JSON.parse(Buffer.from(payload, "base64url").toString());
  const foreign = await generateKeyPair("EdDSA", { crv: "Ed25519" });
  const byForeign = (kid: string) =>
    new SignJWT(claims).setProtectedHeader({ ...header, kid }).sign(foreign.privateKey);
  const bySecret = new SignJWT(claims)
    .setProtectedHeader({ ...header, alg: "HS256" })
    .sign(Buffer.from(header.kid));
  const bent = Buffer.from(JSON.stringify({ ...claims, sub: "1" })).toString("base64url");
  const second = Math.floor(Date.now() / 1_000);
  const bad = (what: string, token: string | undefined): BadToken => ({
    what,
    token,
    reason: "TOKEN_INVALID",
  });
  return [
    bad("no token", undefined),
    bad("no JWT", "nonsense"),
    bad("signed by another key", await byForeign(header.kid)),
    bad("signed by a key that nobody knows", await byForeign("unknown")),
    bad("signed with what is public", await bySecret),
    bad("alg none", new UnsecuredJWT(claims).encode()),
    bad("another user under the old signature", `${head}.${bent}.${signature}`),
    bad("cut signature", valid.slice(0, -4)),
    bad("no signature", `${head}.${payload}.`),
    bad("wrong audience", await sign({ ...claims, aud: "somebody else" })),
    bad("wrong issuer", await sign({ ...claims, iss: "somebody else" })),
    bad("not good yet", await sign({ ...claims, nbf: second + 3_600 })),
    bad("without an end", await sign({ ...claims, exp: undefined })),
    bad("without a login", await sign({ ...claims, sid: undefined })),
    bad("a role that there is not", await sign({ ...claims, role: "root" })),
    {
      what: "expired",
      token: await sign({ ...claims, iat: second - 901, exp: second - 1 }),
      reason: "TOKEN_EXPIRED",
    },
  ];
}

/** The roles, from the least to the most. */
export const EVERY_ROLE: readonly Role[] = ["bot", "user", "operator", "admin"];
