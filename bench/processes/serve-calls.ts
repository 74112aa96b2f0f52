interface Call {
  readonly id: number;
  readonly method: string;
  readonly argument: unknown;
}

/** Answers the calls that the parent process makes by its `CalledProcess`, until the parent ends. */
export function serveCalls<Api extends object>(api: Api): void {
  process.on("message", async ({ id, method, argument }: Call) => {
    try {
      const work = api[method as keyof Api] as unknown as (argument: unknown) => Promise<unknown>;
      process.send?.({ id, result: await work.call(api, argument) });
    } catch (error) {
      process.send?.({ id, error: String((error as Error).stack ?? error) });
    }
  });
  // The parent process has ended.
  process.on("disconnect", () => process.exit());
}
