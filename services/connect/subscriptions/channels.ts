import { FlushLoop } from "#platform/batching/flush-loop.ts";
import type { Clock, Timer } from "#platform/clock.ts";
import type { Log } from "#platform/log.ts";
import type { Lease } from "#platform/registry/registry.ts";
import type { Session } from "../socket/session.ts";
import { SmallSet } from "../socket/small-set.ts";

/** The last delivery of one conversation to one channel. */
export interface Watermark {
  /** The first sequence delivered. */
  first: number;
  /** The last sequence delivered. */
  last: number;
  /** Id of the session that sent `last`; empty for none. */
  origin: string;
  /** The last delivered sequence that `origin` did not send. */
  lastFromOthers: number;
  /** The pending redelivery check of the channel and conversation. */
  check: Timer | undefined;
}

/** One routing topic and the sessions on this instance that hear it. */
export interface Channel {
  readonly name: string;
  readonly sessions: SmallSet<Session>;
  /** The sessions that declined optional frames. Absent for none, which is usual. */
  declining?: Set<Session>;
  /** For a group: the highest first sequence that a session may see, of all its sessions so far. */
  newestFirst: number;
  /** The same without the newcomers. */
  commonFirst: number;
  /** The sessions that joined last, with the first sequence that each may see, in a large channel. */
  newcomers?: Map<Session, number>;
  /** By conversation. Absent until the first delivery: most channels are idle. */
  watermarks?: Map<string, Watermark>;
}

/**
 * Advances the watermark after a delivery of contiguous entries up to `last`. `origins`: per entry,
 * the session that sent it. Above `limit` conversations the oldest watermark is evicted.
 */
export function advanceWatermark(
  channel: Channel,
  delivery: { conversationId: string; last: number; origins: readonly string[]; limit: number },
): Watermark {
  const { conversationId, last, origins } = delivery;
  const first = last - origins.length + 1;
  channel.watermarks ??= new Map();
  const { watermarks } = channel;
  let watermark = watermarks.get(conversationId);
  if (!watermark) {
    watermark = { first, last: first - 1, origin: "", lastFromOthers: first - 1, check: undefined };
    watermarks.set(conversationId, watermark);
    if (watermarks.size > delivery.limit) evictOldest(watermarks);
  }
  watermark.first = Math.min(watermark.first, first);
  let sequence = first - 1;
  for (const origin of origins) {
    sequence++;
    if (sequence <= watermark.last) continue;
    if (origin === "" || origin !== watermark.origin) {
      watermark.lastFromOthers = watermark.last;
      watermark.origin = origin;
    }
    watermark.last = sequence;
  }
  return watermark;
}

/** A channel with fewer sessions keeps no newcomers: all of its sessions sync late entries. */
const LARGE_CHANNEL = 16;
const MAX_NEWCOMERS = 64;

/** Records the first sequence of a group that a session of its channel may see. */
export function restrict(channel: Channel, session: Session, first: number): void {
  channel.newestFirst = Math.max(channel.newestFirst, first);
  if (channel.sessions.size < LARGE_CHANNEL) {
    channel.commonFirst = Math.max(channel.commonFirst, first);
    return;
  }
  if (first <= channel.commonFirst) return;
  channel.newcomers ??= new Map();
  const { newcomers } = channel;
  newcomers.set(session, Math.max(first, newcomers.get(session) ?? 0));
  if (newcomers.size <= MAX_NEWCOMERS) return;
  const [[oldest, oldestFirst]] = newcomers as Iterable<[Session, number]> as [[Session, number]];
  newcomers.delete(oldest);
  channel.commonFirst = Math.max(channel.commonFirst, oldestFirst);
}

/** Whether a session of a group's channel may see all entries from this sequence on. */
export function mayHear(channel: Channel, session: Session, first: number): boolean {
  return first >= Math.max(channel.commonFirst, channel.newcomers?.get(session) ?? 0);
}

/** The last delivered sequence that a session other than this one sent. */
export function lastForeignSequence(watermark: Readonly<Watermark>, sessionId: string): number {
  return watermark.origin === sessionId ? watermark.lastFromOthers : watermark.last;
}

function evictOldest(watermarks: Map<string, Watermark>): void {
  const [oldest] = watermarks;
  if (!oldest) return;
  oldest[1].check?.stop();
  watermarks.delete(oldest[0]);
}

function stopChecks({ watermarks }: Channel): void {
  for (const watermark of watermarks?.values() ?? []) watermark.check?.stop();
}

export interface ChannelsOptions {
  clock: Clock;
  lease: () => Lease;
  /**
   * Time for which a channel without sessions stays joined, ms, so that a reconnect needs no new
   * join.
   */
  lingerMs: number;
  /** Back-off before the retry of a failed join. */
  retryMs: number;
  log: Log;
}

/**
 * The channels that the instance hears, mirrored in the registry. Calls to the registry run one at
 * a time, each with all changes collected since the previous call, so that a join and a leave
 * cannot overtake each other.
 */
export class Channels {
  readonly #options: ChannelsOptions;
  /** Runs the calls to the registry. */
  readonly #loop: FlushLoop;
  readonly #channels = new Map<string, Channel>();
  /** Channels that this instance has joined in the registry. */
  readonly #joined = new Set<string>();
  /** Channels without sessions, to be left after the linger time. */
  readonly #leaving = new Set<string>();
  #waiting: { names: readonly string[]; resolve: () => void; reject: (error: unknown) => void }[] =
    [];
  /** Number of times that the registry lost the instance, and with it all earlier joins. */
  #losses = 0;
  #leave: Timer | undefined;
  #closed = false;

  constructor(options: ChannelsOptions) {
    this.#options = options;
    this.#loop = new FlushLoop({ clock: options.clock, flush: () => this.#flush() });
  }

  get(name: string): Channel | undefined {
    return this.#channels.get(name);
  }

  /** The session hears deliveries to the channel that reach this instance; see `join`. */
  subscribe(session: Session, name: string): Channel {
    let channel = this.#channels.get(name);
    if (!channel) {
      channel = { name, sessions: new SmallSet(), newestFirst: 0, commonFirst: 0 };
      this.#channels.set(name, channel);
    }
    channel.sessions.add(session);
    if (session.declined) {
      channel.declining ??= new Set();
      channel.declining.add(session);
    }
    this.#leaving.delete(name);
    return channel;
  }

  /** The session stops hearing the channel. */
  unsubscribe(session: Session, name: string): void {
    const channel = this.#channels.get(name);
    channel?.declining?.delete(session);
    channel?.newcomers?.delete(session);
    if (!channel?.sessions.delete(session) || channel.sessions.size > 0) return;
    stopChecks(channel);
    this.#channels.delete(name);
    this.#leaving.add(name);
    if (!this.#closed) {
      this.#leave ??= this.#options.clock.after(this.#options.lingerMs, () => {
        this.#leave = undefined;
        this.#loop.schedule(0);
      });
    }
  }

  /**
   * Resolves when the instance has joined the channels in the registry. Rejects with UNAVAILABLE.
   */
  join(names: readonly string[]): Promise<void> {
    if (names.every((name) => this.#joined.has(name))) return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.#waiting.push({ names, resolve, reject });
      this.#loop.schedule(0);
    });
  }

  /**
   * Joins, with retries until the join succeeds or no session hears the channels. Resolves after
   * the first attempt; never rejects.
   */
  async joinWithRetries(names: readonly string[]): Promise<void> {
    try {
      await this.join(names);
    } catch (error) {
      this.#options.log.warn({ event: "join_failed", channels: names.length, err: error });
      if (this.#closed) return;
      this.#options.clock.after(this.#options.retryMs, () => {
        const wanted = names.filter((name) => this.#channels.has(name));
        if (wanted.length > 0 && !this.#closed) void this.joinWithRetries(wanted);
      });
    }
  }

  /**
   * Rejoins all channels after the registry lost the instance. Resolves after the first attempt.
   */
  async rejoinAll(): Promise<void> {
    this.#losses += 1;
    this.#joined.clear();
    this.#leaving.clear();
    await this.joinWithRetries([...this.#channels.keys()]);
  }

  /** Rejoins channels that the registry seems to have lost; skips channels without sessions. */
  async rejoinChannels(names: readonly string[]): Promise<void> {
    const heard = names.filter((name) => this.#channels.has(name));
    for (const name of heard) this.#joined.delete(name);
    await this.joinWithRetries(heard);
  }

  close(): void {
    this.#closed = true;
    this.#leave?.stop();
    for (const channel of this.#channels.values()) stopChecks(channel);
  }

  /** Joins the requested channels, then leaves those without sessions. Never rejects. */
  async #flush(): Promise<void> {
    while (this.#waiting.length > 0) {
      const requests = this.#waiting;
      this.#waiting = [];
      const missing = new Set(
        requests.flatMap(({ names }) => names).filter((name) => !this.#joined.has(name)),
      );
      const losses = this.#losses;
      try {
        if (missing.size > 0) await this.#options.lease().join([...missing]);
        if (losses !== this.#losses) {
          // The join may have used the lost lease: retry it.
          this.#waiting.push(...requests);
          continue;
        }
        for (const name of missing) {
          this.#joined.add(name);
          if (!this.#channels.has(name)) this.#leaving.add(name);
        }
        for (const { resolve } of requests) resolve();
      } catch (error) {
        for (const { reject } of requests) reject(error);
      }
    }
    if (this.#leave === undefined) await this.#leaveIdle();
  }

  async #leaveIdle(): Promise<void> {
    const idle = [...this.#leaving].filter((name) => !this.#channels.has(name));
    this.#leaving.clear();
    if (idle.length === 0) return;
    for (const name of idle) this.#joined.delete(name);
    try {
      await this.#options.lease().leave(idle);
    } catch (error) {
      // Deliveries to these channels are skipped; the registry drops them with the lease.
      this.#options.log.warn({ event: "leave_failed", channels: idle.length, err: error });
    }
  }
}
