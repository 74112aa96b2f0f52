import { type DescMethod, type DescService, getOption } from "@bufbuild/protobuf";
import { Access, access, LimitClass, limit } from "#gen/lucky/options/v1/options_pb.js";

/** The options of a method in the contract. */
export interface MethodRules {
  /** Full name, such as "lucky.auth.v1.AuthService/Login". */
  readonly name: string;
  readonly access: Access;
  readonly limit: LimitClass;
}

/** The health service is a gRPC standard, so its methods do not have Lucky's options. */
const HEALTH_PACKAGE = "grpc.health.v1.";

const INTERNAL_PACKAGE = "lucky.internal.";

/** Whether only our own processes may call the service. */
export function isInternal({ typeName }: DescService): boolean {
  return typeName.startsWith(INTERNAL_PACKAGE);
}

/** Reads the options of a method. */
export function rulesOf(method: DescMethod): MethodRules {
  const service = method.parent.typeName;
  const name = `${service}/${method.name}`;
  if (service.startsWith(HEALTH_PACKAGE)) {
    return { name, access: Access.PUBLIC, limit: LimitClass.INTERNAL };
  }
  const declared = getOption(method, limit);
  return {
    name,
    access: getOption(method, access),
    limit: declared === LimitClass.UNSPECIFIED ? LimitClass.WRITE : declared,
  };
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
