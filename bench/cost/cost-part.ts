import type { Figures } from "../command/report.ts";
import type { Machine } from "../machine/machine.ts";
import type { Bench } from "../runs/bench.ts";
import type { System } from "../system/system.ts";
import type { User } from "../system/users.ts";
import type { Costs } from "./costs.ts";

/** One size of the sessions part: sessions with a number of conversations each. */
export interface SessionSize {
  readonly sessions: number;
  readonly conversations: number;
}

/** Options and the measured system, common to all parts of the scenario. */
export interface CostOptions {
  readonly bench: Bench;
  readonly system: System;
  readonly machine: Machine;
  readonly addresses: readonly string[];
  /** Users of the parts with messages and cursors. */
  readonly active: readonly User[];
  /** Users for the idle sessions of all sizes together. */
  readonly idle: readonly User[];
  readonly generators: number;
  /** Number of active users that write to each other in pairs. */
  readonly pairedUsers: number;
  /** Seconds of each measurement. */
  readonly seconds: number;
  /** Messages a second in the part with a fixed rate. */
  readonly rate: number;
  /** Members of the group whose messages are measured. */
  readonly members: number;
  /** Members of the group whose cursors are measured, and its seconds: at least one interval of its flushes. */
  readonly cursorMembers: number;
  readonly cursorSeconds: number;
  readonly sizes: readonly SessionSize[];
  /** Share of groups among the conversations of an idle session. */
  readonly groupShare: number;
  /** Interval of the sweep, ms. */
  readonly sweepMs: number;
  /** Messages a second to other sessions while idle sessions are measured. */
  readonly talk: number;
  /** Entries and conversations of the part that measures the log alone. */
  readonly entries: number;
  readonly logConversations: number;
  /** Messages of the long conversation. */
  readonly historyEntries: number;
}

/** Result of a part. */
export interface PartCosts {
  readonly costs: Costs;
  readonly faults: readonly string[];
  /** Further figures of the report. */
  readonly figures?: Figures;
}

export type CostPart = (options: CostOptions) => Promise<PartCosts>;
