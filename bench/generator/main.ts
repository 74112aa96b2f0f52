/** The process of one generator: does what its parent asks, one answer a question. */
import type { GeneratorApi } from "./api.ts";
import { Generator } from "./generator.ts";

interface Question {
  readonly id: number;
  readonly method: keyof GeneratorApi;
  readonly argument: unknown;
}

const generator: GeneratorApi = new Generator();

process.on("message", async ({ id, method, argument }: Question) => {
  try {
    const work = generator[method] as (argument: unknown) => Promise<unknown>;
    process.send?.({ id, result: await work.call(generator, argument) });
  } catch (error) {
    process.send?.({ id, error: String((error as Error).stack ?? error) });
  }
});
// Nobody is left to work for.
process.on("disconnect", () => process.exit());
