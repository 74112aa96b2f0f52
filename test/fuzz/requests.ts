import { type DescMethod, type Message, toBinary, toJsonString } from "@bufbuild/protobuf";
import { ServerReflection } from "#gen/grpc/reflection/v1/reflection_pb.js";
import { SERVICES } from "#platform/rpc/contract.ts";
import { nameOf } from "../attack/method-calls.ts";
import { requestsFor } from "../attack/requests.ts";
import { mutate, type Random } from "./random.ts";

/** Methods that end the attacker's own login: later inputs would only be refused. */
const ENDS_LOGIN = /\/(Logout|RevokeDevice|RevokeOtherDevices|DeleteAccount)$/;

const METHODS = [...SERVICES, ServerReflection]
  .flatMap((service) => service.methods)
  .filter((method) => !ENDS_LOGIN.test(nameOf(method)));

export type Format = "proto" | "json";

/** A request with a fault. */
export interface BadRequest {
  readonly method: DescMethod;
  /** Full name, such as "lucky.auth.v1.AuthService/Login". */
  readonly name: string;
  readonly bytes: Buffer;
}

/** A request of any method, with a fault; `userId` stands where the contract expects a user. */
export function badRequest(random: Random, format: Format, userId: string): BadRequest {
  const method = random.pick(METHODS);
  const message = random.pick(requestsFor(method, { user_id: userId, sender_id: userId }));
  const bytes =
    format === "proto"
      ? mutate(random, toBinary(method.input, message))
      : badJson(random, method, message);
  return { method, name: nameOf(method), bytes };
}

/** Values that a JSON parser or a field may stumble over. */
const JSON_VALUES = [
  "null",
  "[]",
  "{}",
  "true",
  "-0",
  "1e999",
  "-1e-999",
  "9223372036854775808",
  '"-9223372036854775809"',
  '"\\ud800"',
  '"\\u0000"',
  `"${"A".repeat(3_000)}"`,
  '{"@type":"x"}',
  `${"[".repeat(500)}${"]".repeat(500)}`,
  `${'{"a":'.repeat(500)}1${"}".repeat(500)}`,
];

function badJson(random: Random, method: DescMethod, message: Message): Buffer {
  const json = toJsonString(method.input, message);
  switch (random.below(4)) {
    case 0:
      return mutate(random, Buffer.from(json));
    case 1: {
      // Another value for one of the fields.
      const values = [...json.matchAll(/:("[^"]*"|[^,{}[\]"]+)/g)];
      if (values.length === 0) return Buffer.from(random.pick(JSON_VALUES));
      const { index, 0: whole } = random.pick(values);
      const bent = `:${random.pick(JSON_VALUES)}`;
      return Buffer.from(json.slice(0, index) + bent + json.slice(index + whole.length));
    }
    case 2: {
      // A field that is unknown, repeated, or in the other spelling.
      const { fields } = method.input;
      const names = [
        "__proto__",
        "constructor",
        "",
        ...fields.flatMap((f) => [f.name, f.jsonName]),
      ];
      const field = `"${random.pick(names)}":${random.pick(JSON_VALUES)}`;
      return Buffer.from(json === "{}" ? `{${field}}` : `{${field},${json.slice(1)}`);
    }
    default:
      return Buffer.from(random.pick(JSON_VALUES));
  }
}

/** A message as gRPC, gRPC-Web and the streams of Connect send it; sometimes with a fault. */
export function envelope(random: Random, message: Uint8Array): Buffer {
  const head = Buffer.alloc(5);
  head[0] = random.once(4) ? random.below(256) : 0;
  const length = random.once(4) ? random.pick([0, 1, 0x7fffffff, 0xffffffff]) : message.length;
  head.writeUInt32BE(length, 1);
  const whole = Buffer.concat([head, message]);
  return random.once(4) ? mutate(random, whole) : whole;
}

/** Headers that any call may have, sometimes with a fault. */
export function callHeaders(random: Random, token: string): Record<string, string> {
  const headers: Record<string, string> = {
    // Another address for each call: refusals are counted per address.
    "x-forwarded-for": `10.0.${random.below(4)}.${random.below(256)}`,
  };
  if (!random.once(4)) headers.authorization = `Bearer ${token}`;
  else if (random.once(2)) {
    headers.authorization = `Bearer ${mutate(random, Buffer.from(token)).toString("base64")}`;
  }
  const odd: [string, readonly string[]][] = [
    ["connect-protocol-version", ["1", "2", ""]],
    ["connect-timeout-ms", ["1000", "0", "soon", "-1", "99999999999", "1e3"]],
    ["grpc-timeout", ["1S", "1000m", "0n", "forever", "999999999H", "-1S"]],
    ["content-encoding", ["identity", "gzip", "br", "zip", ""]],
    ["connect-content-encoding", ["identity", "gzip", "br", "zip"]],
    ["grpc-encoding", ["identity", "gzip", "br", "zip"]],
    ["accept-encoding", ["br", "gzip", "br;q=0,*", "zip"]],
    ["x-request-id", ["a".repeat(500), "../..", "1"]],
    ["lucky-peer", ["203.0.113.9", "x.y.z"]],
    ["origin", ["https://example.org", "null"]],
  ];
  while (random.once(2)) {
    const [name, values] = random.pick(odd);
    headers[name] = random.pick(values);
  }
  return headers;
}
