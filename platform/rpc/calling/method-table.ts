import { type DescMethodUnary, fromBinary, type MessageShape, toBinary } from "@bufbuild/protobuf";
import type { Transport } from "@connectrpc/connect";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { Access } from "#gen/lucky/options/v1/options_pb.js";
import { fail } from "#platform/errors.ts";
import type { UserCaller } from "#platform/identity/caller.ts";
import type { Limiter } from "#platform/limiter/limiter.ts";
import type { ReachableService } from "#platform/rpc/contract.ts";
import { DEFAULT_DEADLINE_MS } from "#platform/rpc/deadline.ts";
import { requireRole } from "#platform/rpc/interceptors/access.ts";
import { type Budgets, isWeighed, pointsOf } from "#platform/rpc/interceptors/budgets.ts";
import { takePoints } from "#platform/rpc/interceptors/limit.ts";
import type { LoadShedder } from "#platform/rpc/interceptors/load-shedder.ts";
import { PEER_HEADER } from "#platform/rpc/peer.ts";
import { type MethodRules, rulesOf } from "#platform/rpc/rules.ts";
import { createRequestBound, type RequestBound } from "#platform/validation/request-bound.ts";

/** The methods that a device may call by name over its socket. */
export interface MethodTable {
  /**
   * Calls a method such as "lucky.message.v1.MessageService/ListEntries" with an encoded request
   * and returns the encoded response. Rejects with the error of the method, with METHOD_NOT_FOUND
   * for an unknown or internal one, with PERMISSION_DENIED for a method that does not admit the
   * role of `caller`, with RATE_LIMITED when the caller, or the address in `headers` for calls with
   * credentials, has used up the budget of the method's limit class, with OVERLOADED for a call that
   * is shed, with INVALID_ARGUMENT for bytes that are not such a request or too many. Nothing is decoded before the call is admitted.
   */
  call(
    method: string,
    request: Uint8Array,
    headers: Headers,
    signal: AbortSignal,
    caller?: Pick<UserCaller, "userId" | "role">,
  ): Promise<Uint8Array>;
}

const CALLABLE: ReadonlySet<Access> = new Set([
  Access.PUBLIC,
  Access.USER,
  Access.PERSON,
  Access.OPERATOR,
  Access.ADMIN,
]);

interface Entry {
  readonly method: DescMethodUnary;
  readonly transport: Transport;
  readonly rules: MethodRules;
}

/**
 * Creates the table of all unary methods of the services, except internal ones. With `limits`, calls
 * take points of the same budgets as calls through the gateway, under the same keys.
 */
export function methodTable(
  services: readonly ReachableService[],
  limits?: { limiter: Limiter; budgets: Budgets; shedder?: LoadShedder },
): MethodTable {
  const table = new Map<string, Entry>();
  for (const { service, transport } of services) {
    for (const method of service.methods) {
      const rules = rulesOf(method);
      if (method.methodKind !== "unary" || !CALLABLE.has(rules.access)) continue;
      table.set(rules.name, { method: method as DescMethodUnary, transport, rules });
    }
  }
  const bound = createRequestBound();
  return {
    async call(name, bytes, headers, signal, caller) {
      const entry = table.get(name);
      if (entry === undefined) {
        throw fail(ErrorReason.METHOD_NOT_FOUND, "no such method can be called here");
      }
      const { method, transport, rules } = entry;
      if (caller !== undefined) requireRole(rules, caller.role);
      limits?.shedder?.admit(rules);
      const address = headers.get(PEER_HEADER) ?? undefined;
      const counted = { limit: rules.limit, userId: caller?.userId, address };
      const weighed = isWeighed(method);
      if (limits) await takePoints(limits, { ...counted, points: weighed ? 0 : 1 });
      const request = decode(entry, bytes, bound);
      if (limits && weighed) await takePoints(limits, { ...counted, points: pointsOf(request) });
      const answer = await transport.unary(method, signal, DEFAULT_DEADLINE_MS, headers, request);
      return toBinary(method.output, answer.message);
    },
  };
}

function decode(
  { method, rules }: Entry,
  bytes: Uint8Array,
  bound: RequestBound,
): MessageShape<typeof method.input> {
  const { maxRequestBytes, maxRequestItems } = rules;
  if (bytes.length > maxRequestBytes) {
    const why = `the request has more than ${maxRequestBytes} bytes`;
    throw fail(ErrorReason.INVALID_ARGUMENT, why);
  }
  bound({ schema: method.input, bytes, json: false }, maxRequestItems);
  try {
    return fromBinary(method.input, bytes);
  } catch (cause) {
    const { typeName } = method.input;
    throw fail(ErrorReason.INVALID_ARGUMENT, `the request is not a ${typeName}`, { cause });
  }
}
