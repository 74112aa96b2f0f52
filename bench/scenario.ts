import { type Flag, type Flags, readFlags } from "./options.ts";
import type { Report } from "./report.ts";

/** One thing that can be measured: `npm run bench -- <its file's name> [flags]`. */
export interface Scenario {
  /** A line of help. */
  readonly summary: string;
  readonly flags: Readonly<Record<string, Flag>>;
  /** Reads the arguments and measures. Rejects with a plain sentence for arguments that are wrong. */
  run(args: string[]): Promise<Report>;
}

/** Makes a scenario of one that takes its flags. */
export function scenario(options: {
  readonly summary: string;
  readonly flags: Readonly<Record<string, Flag>>;
  run(flags: Flags): Promise<Report>;
}): Scenario {
  const { summary, flags } = options;
  return { summary, flags, run: async (args) => options.run(readFlags(flags, args)) };
}
