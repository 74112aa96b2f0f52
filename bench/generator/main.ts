/** The process of one generator: answers each call of its parent. */
import type { GeneratorApi } from "./api.ts";
import { Generator } from "./generator.ts";

interface Call {
  readonly id: number;
  readonly method: keyof GeneratorApi;
  readonly argument: unknown;
}

const generator: GeneratorApi = new Generator();

process.on("message", async ({ id, method, argument }: Call) => {
  try {
    const work = generator[method] as (argument: unknown) => Promise<unknown>;
    process.send?.({ id, result: await work.call(generator, argument) });
  } catch (error) {
    process.send?.({ id, error: String((error as Error).stack ?? error) });
  }
});
// The parent process has ended.
process.on("disconnect", () => process.exit());
