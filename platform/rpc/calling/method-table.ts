import { type DescMethodUnary, fromBinary, type MessageShape, toBinary } from "@bufbuild/protobuf";
import type { Transport } from "@connectrpc/connect";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { Access, type LimitClass } from "#gen/lucky/options/v1/options_pb.js";
import { fail } from "#platform/errors.ts";
import type { Limiter } from "#platform/limiter/limiter.ts";
import type { ReachableService } from "#platform/rpc/contract.ts";
import { DEFAULT_DEADLINE_MS } from "#platform/rpc/deadline.ts";
import { type Budgets, pointsOf } from "#platform/rpc/interceptors/budgets.ts";
import { takePoints } from "#platform/rpc/interceptors/limit.ts";
import { PEER_HEADER } from "#platform/rpc/peer.ts";
import { rulesOf } from "#platform/rpc/rules.ts";

/** The methods that a device may call by name over its socket. */
export interface MethodTable {
  /**
   * Calls a method such as "lucky.message.v1.MessageService/ListEntries" with an encoded request
   * and returns the encoded response. Rejects with the error of the method, with METHOD_NOT_FOUND
   * for an unknown or internal one, with INVALID_ARGUMENT for bytes that are not such a request,
   * with RATE_LIMITED when `userId`, or the address in `headers` for calls with credentials, has
   * used up the budget of the method's limit class.
   */
  call(
    method: string,
    request: Uint8Array,
    headers: Headers,
    signal: AbortSignal,
    userId?: string,
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
  readonly limit: LimitClass;
}

/**
 * Creates the table of all unary methods of the services, except internal ones. With `limits`, calls
 * take points of the same budgets as calls through the gateway, under the same keys.
 */
export function methodTable(
  services: readonly ReachableService[],
  limits?: { limiter: Limiter; budgets: Budgets },
): MethodTable {
  const table = new Map<string, Entry>();
  for (const { service, transport } of services) {
    for (const method of service.methods) {
      const { name, access, limit } = rulesOf(method);
      if (method.methodKind !== "unary" || !CALLABLE.has(access)) continue;
      table.set(name, { method: method as DescMethodUnary, transport, limit });
    }
  }
  return {
    async call(name, bytes, headers, signal, userId) {
      const entry = table.get(name);
      if (entry === undefined) {
        throw fail(ErrorReason.METHOD_NOT_FOUND, "no such method can be called here");
      }
      const { method, transport, limit } = entry;
      const request = decode(method, bytes);
      if (limits) {
        const address = headers.get(PEER_HEADER) ?? undefined;
        await takePoints(limits, { limit, points: pointsOf(request), userId, address });
      }
      const answer = await transport.unary(method, signal, DEFAULT_DEADLINE_MS, headers, request);
      return toBinary(method.output, answer.message);
    },
  };
}

function decode(method: DescMethodUnary, bytes: Uint8Array): MessageShape<typeof method.input> {
  try {
    return fromBinary(method.input, bytes);
  } catch (cause) {
    const { typeName } = method.input;
    throw fail(ErrorReason.INVALID_ARGUMENT, `the request is not a ${typeName}`, { cause });
  }
}
