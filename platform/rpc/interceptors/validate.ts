import type { DescMessage, Message } from "@bufbuild/protobuf";
import { pathToString } from "@bufbuild/protobuf/reflect";
import type { Interceptor } from "@connectrpc/connect";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";
import { createMessageValidator } from "#platform/validation/validator.ts";

/** Refuses a request that breaks a constraint of its proto: INVALID_ARGUMENT, text "field: reason". */
export function validateInterceptor(): Interceptor {
  const validator = createMessageValidator();

  function check(schema: DescMessage, message: Message): void {
    const result = validator.validate(schema, message);
    if (result.kind === "error") throw result.error;
    if (result.kind === "invalid") {
      const [first] = result.violations;
      const where = first === undefined ? "" : pathToString(first.field);
      const why = `${where === "" ? "" : `${where}: `}${first?.message}`;
      throw fail(ErrorReason.INVALID_ARGUMENT, why, { field: where });
    }
  }

  async function* checked(schema: DescMessage, messages: AsyncIterable<Message>) {
    for await (const message of messages) {
      check(schema, message);
      yield message;
    }
  }

  return (next) => async (request) => {
    const { input } = request.method;
    if (request.stream) return next({ ...request, message: checked(input, request.message) });
    check(input, request.message);
    return next(request);
  };
}
