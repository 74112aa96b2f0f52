import {
  type DescMethodUnary,
  type DescService,
  fromBinary,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import type { Transport } from "@connectrpc/connect";
import { ErrorReason } from "../../gen/lucky/error/v1/error_pb.js";
import { Access } from "../../gen/lucky/options/v1/options_pb.js";
import { fail } from "../errors.ts";
import { defaultDeadlineMs } from "./deadline.ts";
import { rulesOf } from "./rules.ts";

/** The methods that a device may call by name over its socket. */
export interface MethodTable {
  /**
   * Calls a method such as "lucky.message.v1.MessageService/ListEntries" with an encoded request
   * and returns the encoded response. Rejects with the error of the method, with METHOD_NOT_FOUND
   * for an unknown or internal one, with INVALID_ARGUMENT for bytes that are no such request.
   */
  call(
    method: string,
    request: Uint8Array,
    headers: Headers,
    signal: AbortSignal,
  ): Promise<Uint8Array>;
}

export interface MethodTableEntry {
  readonly service: DescService;
  readonly transport: Transport;
}

const callable: ReadonlySet<Access> = new Set([Access.PUBLIC, Access.USER, Access.ADMIN]);

/** Makes the table of all unary methods of the services but for the internal ones. */
export function methodTable(entries: readonly MethodTableEntry[]): MethodTable {
  const table = new Map<string, { method: DescMethodUnary; transport: Transport }>();
  for (const { service, transport } of entries) {
    for (const method of service.methods) {
      const { name, access } = rulesOf(method);
      if (method.methodKind !== "unary" || !callable.has(access)) continue;
      table.set(name, { method: method as DescMethodUnary, transport });
    }
  }
  return {
    async call(name, bytes, headers, signal) {
      const entry = table.get(name);
      if (entry === undefined) {
        throw fail(ErrorReason.METHOD_NOT_FOUND, "no such method can be called here");
      }
      const { method, transport } = entry;
      const request = decode(method, bytes);
      const answer = await transport.unary(method, signal, defaultDeadlineMs, headers, request);
      return toBinary(method.output, answer.message);
    },
  };
}

function decode(method: DescMethodUnary, bytes: Uint8Array): MessageShape<typeof method.input> {
  try {
    return fromBinary(method.input, bytes);
  } catch (cause) {
    const what = method.input.typeName;
    throw fail(ErrorReason.INVALID_ARGUMENT, `the request is no ${what}`, { cause });
  }
}
