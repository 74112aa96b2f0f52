import type { Counts } from "./accounting/ledger.ts";
import type { Effort, LatencyCounts, Round } from "./accounting/measurement.ts";
import type { AcknowledgementLoad } from "./devices/acknowledgement-load.ts";
import type { CatchUpResult, SyncOptions } from "./devices/catch-up.ts";
import type { OpenOptions, OpenResult } from "./devices/devices.ts";
import type { PageSyncOptions } from "./devices/page-sync.ts";
import type { DialectName } from "./dialects/dialects.ts";
import type { Load } from "./timing/load.ts";

/** How a generator simulates its devices. */
export interface Setup {
  readonly dialect: DialectName;
  /** From `epochOffsetUs`. */
  readonly epochOffsetUs: number;
  readonly text: string;
  /** True for a group: all messages share one sequence of numbers and go to every device. False for pairs. */
  readonly shared: boolean;
  /** How long acknowledgements are batched, milliseconds; 0 for no acknowledgements. */
  readonly acknowledgeMs: number;
}

/** Counts, duration and CPU time at the end of a measurement. */
export interface Measured {
  /** Counts from the start of the generator to the end of the measurement. */
  readonly counts: Counts;
  readonly effort: Effort;
}

/** Calls of a generator process. A call answers when its work is done. */
export interface GeneratorApi {
  setup(setup: Setup): Promise<void>;
  /** Adds devices, and opens their sessions. */
  open(options: OpenOptions): Promise<OpenResult>;
  /** Cuts all connections. */
  cut(none: undefined): Promise<void>;
  /** Starts to send. */
  start(load: Load): Promise<void>;
  /** Starts the measurement; returns the counts so far. */
  beginMeasurement(none: undefined): Promise<Counts>;
  /** Ends the measurement. Messages that were due during it may still arrive. */
  endMeasurement(none: undefined): Promise<Measured>;
  /** Latencies of the measurement; complete when all messages have arrived. */
  latencies(none: undefined): Promise<LatencyCounts>;
  /** Stops sending. Messages in flight still arrive. */
  stop(none: undefined): Promise<void>;
  counts(none: undefined): Promise<Counts>;
  /** Shared messages that were due during the measurement. */
  rounds(none: undefined): Promise<Round[]>;
  /** Lets every device catch up by sync. */
  sync(options: SyncOptions): Promise<CatchUpResult>;
  /** Lets every device call Sync to the end; returns the number of conversations in the answers. */
  syncPages(options: PageSyncOptions): Promise<number>;
  /** Lets devices acknowledge at a fixed interval; returns the number of acknowledgements. */
  acknowledge(load: AcknowledgementLoad): Promise<number>;
}
