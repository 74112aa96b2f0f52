import { type DescMethod, type DescService, getOption } from "@bufbuild/protobuf";
import {
  Access,
  access,
  callers,
  LimitClass,
  limit,
  max_request_bytes,
} from "#gen/lucky/options/v1/options_pb.js";
import { type ServiceName, serviceName } from "#platform/service-name.ts";

/** The options of a method in the contract. */
export interface MethodRules {
  /** Full name, such as "lucky.auth.v1.AuthService/Login". */
  readonly name: string;
  readonly access: Access;
  readonly limit: LimitClass;
  /** Maximum bytes of a request, in protobuf or in JSON. */
  readonly maxRequestBytes: number;
  /** Maximum fields and items of lists in a request, at all depths together. */
  readonly maxRequestItems: number;
  /** The services that may call an internal method. */
  readonly callers: readonly ServiceName[];
}

/** Standard services of gRPC, whose methods do not have Lucky's options. */
const STANDARD_PACKAGES = ["grpc.health.v1.", "grpc.reflection."];

/** Requests of standard services name a service, type or file. */
const MAX_STANDARD_BYTES = 4_096;

/** Maximum bytes of a request whose method declares none, see `max_request_bytes`. */
const MAX_BYTES = 64 * 1024;
const MAX_PUBLIC_BYTES = 16 * 1024;
const MAX_INTERNAL_BYTES = 4 * 1024 * 1024;

/**
 * Maximum items of a request, which take about a millisecond to decode. The largest valid requests
 * of clients have 2,000 (a send), those of our own services 14,000 (2,000 acknowledgements).
 */
const MAX_ITEMS = 5_000;
const MAX_INTERNAL_ITEMS = 100_000;

const INTERNAL_PACKAGE = "lucky.internal.";

/** Whether only our own processes may call the service. */
export function isInternal({ typeName }: DescService): boolean {
  return typeName.startsWith(INTERNAL_PACKAGE);
}

/** Reads the options of a method. */
export function rulesOf(method: DescMethod): MethodRules {
  const service = method.parent.typeName;
  const name = `${service}/${method.name}`;
  if (STANDARD_PACKAGES.some((start) => service.startsWith(start))) {
    return {
      name,
      access: Access.PUBLIC,
      limit: LimitClass.INTERNAL,
      maxRequestBytes: MAX_STANDARD_BYTES,
      maxRequestItems: MAX_ITEMS,
      callers: [],
    };
  }
  const declared = getOption(method, limit);
  const who = getOption(method, access);
  return {
    name,
    access: who,
    limit: declared === LimitClass.UNSPECIFIED ? LimitClass.WRITE : declared,
    maxRequestBytes: getOption(method, max_request_bytes) || maxBytesOf(who),
    maxRequestItems: who === Access.INTERNAL ? MAX_INTERNAL_ITEMS : MAX_ITEMS,
    callers: getOption(method, callers).flatMap((process) => serviceName(process) ?? []),
  };
}

function maxBytesOf(callers: Access): number {
  if (callers === Access.PUBLIC) return MAX_PUBLIC_BYTES;
  return callers === Access.INTERNAL ? MAX_INTERNAL_BYTES : MAX_BYTES;
}

/** Looks up rules by method and caches them: the options of a method are read once. */
export function ruleBook(): (method: DescMethod) => MethodRules {
  const cache = new Map<DescMethod, MethodRules>();
  return (method) => {
    let rules = cache.get(method);
    if (rules === undefined) {
      rules = rulesOf(method);
      cache.set(method, rules);
    }
    return rules;
  };
}
