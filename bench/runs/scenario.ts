import { type FlagsOf, type FlagTable, readFlags } from "../command/flags.ts";
import type { Report } from "../command/report.ts";
import type { Bench } from "./bench.ts";

/** One measurement: `npm run bench -- <the file's name> [flags]`. */
export interface Scenario {
  /** One line for the help. */
  readonly summary: string;
  readonly flags: FlagTable;
  /** Reads the arguments and measures. Rejects with an error for the user when the arguments are wrong. */
  run(args: readonly string[], bench: Bench): Promise<Report>;
}

/** Creates a scenario from a function that takes the declared flags. */
export function scenario<T extends FlagTable>(options: {
  readonly summary: string;
  readonly flags: T;
  readonly run: (flags: FlagsOf<T>, bench: Bench) => Promise<Report>;
}): Scenario {
  const { summary, flags } = options;
  return { summary, flags, run: async (args, bench) => options.run(readFlags(flags, args), bench) };
}
