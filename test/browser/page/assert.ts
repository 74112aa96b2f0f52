/** The part of node:assert/strict that the client's tests use, for a page. */

class AssertionError extends Error {}

function fail(message: string | undefined, text: string): never {
  throw new AssertionError(message === undefined ? text : `${message}: ${text}`);
}

/** A value as text, also with bigints, maps, bytes and errors. */
function show(value: unknown): string {
  const plain = (_: string, one: unknown) => {
    if (typeof one === "bigint") return `${one}n`;
    if (one instanceof Map) return { map: [...one] };
    return one instanceof Error ? String(one) : one;
  };
  return JSON.stringify(value, plain) ?? String(value);
}

function isEqual(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Object.getPrototypeOf(a) !== Object.getPrototypeOf(b)) return false;
  if (a instanceof Map && b instanceof Map)
    return (
      a.size === b.size && [...a].every(([key, one]) => b.has(key) && isEqual(one, b.get(key)))
    );
  if (a instanceof Set && b instanceof Set)
    return a.size === b.size && [...a].every((one) => b.has(one));
  const [keysOfA, keysOfB] = [Object.keys(a), Object.keys(b)];
  const field = (of: object, key: string) => (of as Record<string, unknown>)[key];
  return (
    keysOfA.length === keysOfB.length &&
    keysOfA.every((key) => Object.hasOwn(b, key) && isEqual(field(a, key), field(b, key)))
  );
}

type Expected = RegExp | ((error: never) => boolean);

const assert = {
  ok(value: unknown, message?: string): void {
    if (!value) fail(message, `${show(value)} is not truthy`);
  },
  equal(actual: unknown, expected: unknown, message?: string): void {
    if (!Object.is(actual, expected)) fail(message, `${show(actual)} is not ${show(expected)}`);
  },
  notEqual(actual: unknown, expected: unknown, message?: string): void {
    if (Object.is(actual, expected)) fail(message, `${show(actual)} is the other value`);
  },
  deepEqual(actual: unknown, expected: unknown, message?: string): void {
    if (!isEqual(actual, expected)) fail(message, `${show(actual)} is not ${show(expected)}`);
  },
  match(actual: string, pattern: RegExp): void {
    if (!pattern.test(actual)) fail(undefined, `${show(actual)} does not match ${pattern}`);
  },
  throws(call: () => unknown, expected: new (...given: never[]) => Error): void {
    let thrown: unknown;
    try {
      call();
    } catch (error) {
      thrown = error;
    }
    if (!(thrown instanceof expected)) fail(undefined, `threw ${thrown}`);
  },
  async rejects(promise: Promise<unknown>, expected?: Expected): Promise<void> {
    const settled = await promise.then(
      (value) => ({ error: undefined, value, rejected: false }),
      (error: unknown) => ({ error, value: undefined, rejected: true }),
    );
    if (!settled.rejected) fail(undefined, `resolved with ${show(settled.value)}`);
    const { error } = settled;
    if (expected instanceof RegExp) assert.match(String(error), expected);
    else if (expected && !expected(error as never)) fail(undefined, `rejected with ${error}`);
  },
};

export default assert;
