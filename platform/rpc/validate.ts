import { pathToString } from "@bufbuild/protobuf/reflect";

import type { Interceptor } from "@connectrpc/connect";
import { ErrorReason } from "../../gen/lucky/error/v1/error_pb.js";
import { fail } from "../errors.ts";
import { createMessageValidator } from "../validator.ts";

/** Refuses a request that breaks a constraint of its proto with INVALID_ARGUMENT "field: why". */
export function validateInterceptor(): Interceptor {
  const validator = createMessageValidator();
  return (next) => async (request) => {
    if (!request.stream) {
      const result = validator.validate(request.method.input, request.message);
      if (result.kind === "error") throw result.error;
      if (result.kind === "invalid") {
        const told = result.violations.map(({ field, message }) =>
          field.length === 0 ? message : `${pathToString(field)}: ${message}`,
        );
        throw fail(ErrorReason.INVALID_ARGUMENT, told.join("; "));
      }
    }
    return next(request);
  };
}
