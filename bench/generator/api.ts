import type { Counts } from "./accounting/ledger.ts";
import type { Effort, Round, Times } from "./accounting/measurement.ts";
import type { CaughtUp, SyncOptions } from "./devices/catch-up.ts";
import type { Opened, OpenOptions } from "./devices/devices.ts";
import type { DialectName } from "./dialects/dialects.ts";
import type { Load } from "./timing/load.ts";

export interface Setup {
  readonly dialect: DialectName;
  /** From `epochOffsetUs`. */
  readonly epochOffsetUs: number;
  readonly text: string;
  /** Whether all messages are one run of numbers, which every device gets: a group. Else pairs. */
  readonly shared: boolean;
  /** How long acknowledgements are joined; 0 for none. */
  readonly acknowledgeMs: number;
}

/** A measured time. */
export interface Measured {
  /** Since the start, until its end. */
  readonly counts: Counts;
  readonly effort: Effort;
}

/** What the process of a generator does when asked: each answers when it is done. */
export interface GeneratorApi {
  setup(setup: Setup): Promise<void>;
  /** Opens sessions, so many at a time. Replaces nothing: devices are added. */
  open(options: OpenOptions): Promise<Opened>;
  /** Cuts all sessions. */
  cut(none: undefined): Promise<void>;
  /** Begins to send. */
  start(load: Load): Promise<void>;
  /** Begins to measure; counts until then. */
  measure(none: undefined): Promise<Counts>;
  /** Ends measuring; what was due until now may still arrive. */
  measured(none: undefined): Promise<Measured>;
  /** Once all has arrived: how long it took. */
  times(none: undefined): Promise<Times>;
  /** Ends sending; what is under way still arrives. */
  stop(none: undefined): Promise<void>;
  counts(none: undefined): Promise<Counts>;
  /** Of shared numbers: those that were due while it measured. */
  rounds(none: undefined): Promise<Round[]>;
  /** Lets every device catch up by sync, so many at a time. */
  sync(options: SyncOptions): Promise<CaughtUp>;
}
