import { createValidator, type Validator } from "@bufbuild/protovalidate";

/**
 * Makes an evaluator of the constraints in the protos, which stops at the first that is broken: a
 * request has room for millions. It takes the platform's regular expressions:
 * the patterns are our own and match in linear time, and the library's engine needs half a second
 * to compile one with a Unicode class.
 */
export function createMessageValidator(): Validator {
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
