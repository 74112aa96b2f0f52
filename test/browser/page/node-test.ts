/** The part of node:test that the client's tests use, for a page: registers tests. */

type Run = (t: { after(close: () => unknown): void }) => unknown;

interface RegisteredTest {
  readonly name: string;
  readonly run: Run;
}

const registered: RegisteredTest[] = [];

export function test(name: string, ...rest: [Run] | [object, Run]): void {
  registered.push({ name, run: rest.at(-1) as Run });
}

/** Names of all registered tests. */
export function testNames(): string[] {
  return registered.map(({ name }) => name);
}

/** Runs a test. Returns its error as text; undefined when it passed. */
export async function runTest(at: number): Promise<string | undefined> {
  const closes: (() => unknown)[] = [];
  try {
    await registered[at]!.run({ after: (close) => void closes.push(close) });
    return undefined;
  } catch (error) {
    return error instanceof Error ? `${error.stack}` : String(error);
  } finally {
    for (const close of closes) await close();
  }
}
