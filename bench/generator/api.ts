import type { Follows } from "./accounting/received-messages.ts";
import type { Target } from "./dialects/dialect.ts";

/** Which server is spoken to. */
export type DialectName = "lucky" | "socket.io" | "xmpp";

/** A device that a generator is to play. */
export interface DeviceSpec {
  /** Index among all devices of the bench, over all generators. */
  readonly index: number;
  readonly url: string;
  readonly token: string;
  /** Undefined: it only listens. */
  readonly target?: Target;
  readonly localAddress?: string;
}

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

/** How messages are sent. */
export type Load =
  /**
   * Every device keeps so many without an answer. A refused one comes again under its key, when the
   * refusal says.
   */
  | { readonly kind: "window"; readonly window: number }
  /** So many a second, in turn by all devices, `burst` at a time. A refused one is not repeated. */
  | { readonly kind: "rate"; readonly perSecond: number; readonly burst: number }
  /** So many bursts on their way; the next leaves when all devices have one. Shared numbers only. */
  | { readonly kind: "rounds"; readonly burst: number; readonly window: number };

/** Counts since the start. */
export interface Counts extends Follows {
  /** Each once, however often it was repeated. */
  sent: number;
  accepted: number;
  /** Refused and not repeated. */
  refused: number;
  /** Refused, by reason, repeated or not. */
  refusals: Record<string, number>;
  /** Refused because of overload, without a word about when to come again. */
  withoutRetryAfter: number;
  /** Stand in the log after one that the same device sent later, though they were not repeated. */
  overtaken: number;
  /** Deliveries of messages that somebody else than the device's partner sent. */
  strangers: number;
  syncRequired: number;
  /** Sessions that the server ended, by code. */
  ended: Record<string, number>;
}

/** What the generator's process did in a measured time. */
export interface Effort {
  readonly elapsedUs: number;
  readonly cpuUs: number;
}

/** A measured time. */
export interface Measured {
  /** Since the start, until its end. */
  readonly counts: Counts;
  readonly effort: Effort;
}

/** Of the messages that were due in the measured time. Counts of slots: see Histogram. */
export interface Times {
  /** From when a message was due until it was delivered, µs: of all that were until now. */
  readonly latencies: Float64Array;
  /** How late messages were sent, µs. */
  readonly lateness: Float64Array;
}

/** One of the messages that all devices get. */
export interface Round {
  readonly number: number;
  readonly dueUs: number;
  /** How many devices of this generator have it, and since when. */
  readonly devices: number;
  readonly lastUs: number;
}

/** What came of opening sessions. */
export interface Opened {
  readonly elapsedUs: number;
  readonly cpuUs: number;
  /** Attempts that failed and were made again. */
  readonly failed: number;
  readonly failures: Record<string, number>;
  /** From the attempt to the welcome, µs. */
  readonly latencies: Float64Array;
}

/** What came of catching up by sync. */
export interface CaughtUp {
  readonly elapsedUs: number;
  readonly cpuUs: number;
  /** Places in logs that came, each once. */
  readonly entries: number;
  /** Places that did not come, before those that the server calls the last. */
  readonly lost: number;
  /** Entries at a place that was there already. */
  readonly duplicated: number;
  /** Entries that came after one that stands later. */
  readonly outOfOrder: number;
  /** Devices that did not get to the end, by why. */
  readonly failures: Record<string, number>;
  /** Until a device had everything, µs. */
  readonly latencies: Float64Array;
}

/** What the process of a generator does when asked: each answers when it is done. */
export interface GeneratorApi {
  setup(setup: Setup): Promise<void>;
  /** Opens sessions, so many at a time. Replaces nothing: devices are added. */
  open(options: { devices: readonly DeviceSpec[]; atOnce: number }): Promise<Opened>;
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
  sync(options: { atOnce: number }): Promise<CaughtUp>;
}
