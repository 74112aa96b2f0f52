import { type DescMethod, type DescService, getOption } from "@bufbuild/protobuf";
import { Access, access, LimitClass, limit } from "#gen/lucky/options/v1/options_pb.js";

/** What the contract says of a method. */
export interface MethodRules {
  /** Full name, such as "lucky.auth.v1.AuthService/Login". */
  readonly name: string;
  readonly access: Access;
  readonly limit: LimitClass;
}

/** Health checks are not ours to annotate: the package is a standard. */
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

/** A lookup of rules that reads each method's options once. */
export function ruleBook(): (method: DescMethod) => MethodRules {
  const known = new Map<DescMethod, MethodRules>();
  return (method) => {
    let rules = known.get(method);
    if (rules === undefined) {
      rules = rulesOf(method);
      known.set(method, rules);
    }
    return rules;
  };
}
