import { createValidator, ValidationError, type Validator } from "@bufbuild/protovalidate";
import { createTextCheck } from "./texts.ts";

/**
 * Creates a validator for the constraints in the protos: those of protovalidate, and the option `text`
 * of lucky.options.v1. It stops at the first violation, because one request can contain millions of
 * them.
 */
export function createMessageValidator(): Validator {
  const constraints = createConstraintValidator();
  const brokenText = createTextCheck();
  return {
    validate(schema, message) {
      const result = constraints.validate(schema, message);
      const violation = result.kind === "valid" ? brokenText(schema, message) : undefined;
      if (violation === undefined) return result;
      const violations = [violation];
      return { kind: "invalid", message, error: new ValidationError(violations), violations };
    },
  };
}

/**
 * The validator of protovalidate with JavaScript's RegExp: the patterns are our own and match in linear
 * time, while the library's engine takes half a second to compile a pattern with a Unicode class.
 */
function createConstraintValidator(): Validator {
  const compiled = new Map<string, RegExp>();
  return createValidator({
    failFast: true,
    regexMatch(pattern, text) {
      let expression = compiled.get(pattern);
      if (expression === undefined) {
        // RE2 writes a class with one letter as \pL, JavaScript as \p{L}.
        expression = new RegExp(pattern.replace(/\\p([A-Z])/g, "\\p{$1}"), "u");
        compiled.set(pattern, expression);
      }
      return expression.test(text);
    },
  });
}
