import type { Flag, Flags } from "./options.ts";
import type { Report } from "./report.ts";

/** One thing that can be measured: `npm run bench -- <its file's name>`. */
export interface Scenario {
  /** A line of help. */
  readonly summary: string;
  readonly flags: Readonly<Record<string, Flag>>;
  run(flags: Flags): Promise<Report>;
}

/** Says that an object is a scenario. */
export const scenario = (one: Scenario): Scenario => one;
