import { randomUUID } from "node:crypto";
import type { Clock, Timer } from "#platform/clock.ts";
import type { Log } from "#platform/log.ts";
import type { Metrics } from "#platform/metrics.ts";
import { GENERATION, LOSS, type ScriptCommands } from "./redis-scripts.ts";

interface HealthCommands extends Pick<ScriptCommands, "luckyCheck"> {
  info(): Promise<string>;
}

export interface RedisHealthOptions {
  /** Every error becomes UNAVAILABLE. */
  readonly connection: { run<T>(work: (redis: HealthCommands) => Promise<T>): Promise<T> };
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics?: Metrics | undefined;
  readonly leaseMs: number;
  /** Interval of the checks, milliseconds. */
  readonly checkMs: number;
  /** Called when Redis serves after an outage. */
  readonly recovered: () => void;
  /**
   * Called when Redis may have lost registrations without losing the leases: all of them must be
   * repeated. At most once a lease, also while Redis evicts keys all the time.
   */
  readonly lost: () => void;
}

/** "failing": Redis cannot be reached, or refuses to write. */
type State = "starting" | "serving" | "failing";

type Loss = "flushed" | "restarted" | "evicted";

/** Result of one check of Redis's data. Fields of INFO are absent without its permission. */
interface Data {
  /** Random id, written by the first check after the data was lost. */
  readonly generation: string;
  /** Random id of the server's process: another one is a restart or a failover. */
  readonly runId: string;
  /** Number of keys that the server has evicted since its start. */
  readonly evictedKeys: number;
  /** Age of the last loss of data that any process found, ms by the clock of Redis. */
  readonly sinceLossMs: number;
}

/**
 * Tells whether the answers of Redis are complete, by a check every second that writes and reads. A
 * Redis that answers can still refuse all writes (out of memory, a replica, no disk): then leases
 * expire, and absent registrations prove nothing. The same holds for one lease after it lost or
 * evicted keys, also in a process that starts in that time.
 */
export class RedisHealth {
  readonly #options: RedisHealthOptions;
  readonly #gauge: { set(value: number): void } | undefined;
  readonly #timer: Timer;
  #state: State = "starting";
  /**
   * End of the time in which the instances repeat their registrations, after an outage or a loss.
   * Until then, absent registrations prove nothing.
   */
  #completeAtMs = Number.NEGATIVE_INFINITY;
  #data: Data | undefined;
  #servedAtMs = Number.NEGATIVE_INFINITY;
  #checking: Promise<void> | undefined;
  #lostAtMs = Number.NEGATIVE_INFINITY;
  /** A loss to report when the time of a lease has passed since the last report. */
  #unreported: Loss | undefined;
  /** Whether the cause of the current outage is logged. */
  #logged = false;
  #closed = false;

  constructor(options: RedisHealthOptions) {
    this.#options = options;
    this.#gauge = options.metrics?.gauge(
      "lucky_registry_complete",
      "1 while the registry's answers are complete; at 0 deliveries go to all known instances.",
    );
    void this.check();
    this.#timer = options.clock.every(options.checkMs, () => void this.check());
  }

  /** Id of the data, to be compared with the one that an answer carries. */
  get generation(): string {
    return this.#data?.generation ?? "";
  }

  /** Whether a registration that Redis does not have does not exist. */
  isComplete(): boolean {
    return this.#state === "serving" && this.#options.clock.elapsed() >= this.#completeAtMs;
  }

  /** Whether Redis serves, and the instances repeat their registrations. */
  get refilling(): boolean {
    return this.#state === "serving" && !this.isComplete();
  }

  /** Whether the first check has not ended yet. */
  get starting(): boolean {
    return this.#state === "starting";
  }

  /** Checks Redis now. Concurrent calls share a check. Never rejects. */
  check(): Promise<void> {
    this.#checking ??= this.#check().finally(() => {
      this.#checking = undefined;
    });
    return this.#checking;
  }

  /** Marks Redis as failing: the connection is lost, or a check failed. */
  disconnected(): void {
    this.#state = "failing";
    this.#gauge?.set(0);
  }

  close(): void {
    this.#closed = true;
    this.#timer.stop();
  }

  async #check(): Promise<void> {
    if (this.#closed) return;
    const { connection, log } = this.#options;
    try {
      this.#passed(
        await connection.run(async (redis) => {
          const info = await redis.info().catch(() => "");
          const field = (name: string) => new RegExp(`^${name}:(\\S+)`, "m").exec(info)?.[1] ?? "";
          const runId = field("run_id");
          const evictedKeys = Number(field("evicted_keys"));
          const [generation, sinceLossMs] = await redis.luckyCheck(
            GENERATION,
            LOSS,
            randomUUID(),
            runId,
            evictedKeys,
          );
          return { generation, runId, evictedKeys, sinceLossMs };
        }),
      );
    } catch (err) {
      if (this.#closed) return;
      if (!this.#logged) log.error({ event: "registry_failing", err });
      this.#logged = true;
      this.disconnected();
    }
  }

  #passed(read: Data): void {
    const { clock, leaseMs, log, recovered } = this.#options;
    const before = this.#data;
    const data = read.runId || !before ? read : { ...before, generation: read.generation };
    const wasFailing = this.#state === "failing";
    const outageMs = wasFailing ? clock.elapsed() - this.#servedAtMs : 0;
    const loss = before && lossBetween(before, data);
    if (loss) this.#unreported = loss;
    // Leases are renewed every third: each outlasts an outage of half a lease.
    if (loss || outageMs > leaseMs / 2) this.#completeAtMs = clock.elapsed() + leaseMs;
    else if (!before) {
      // The loss may be older than this process. The clock of Redis may have been set back since.
      this.#completeAtMs = clock.elapsed() + leaseMs - Math.max(0, data.sinceLossMs);
    }
    this.#data = data;
    this.#servedAtMs = clock.elapsed();
    this.#state = "serving";
    this.#logged = false;
    this.#gauge?.set(this.isComplete() ? 1 : 0);
    if (wasFailing) {
      log.info({ event: "registry_serves", outageMs: Math.round(outageMs) });
      recovered();
    }
    this.#reportLoss();
  }

  #reportLoss(): void {
    const { clock, leaseMs, log, lost } = this.#options;
    const loss = this.#unreported;
    if (loss === undefined || clock.elapsed() - this.#lostAtMs < leaseMs) return;
    this.#unreported = undefined;
    this.#lostAtMs = clock.elapsed();
    log.error({ event: "registry_data_lost", loss });
    lost();
  }
}

/** How Redis may have lost keys between two checks; undefined when it has not. */
function lossBetween(before: Data, after: Data): Loss | undefined {
  if (before.generation !== after.generation) return "flushed";
  if (before.runId !== "" && before.runId !== after.runId) return "restarted";
  if (after.evictedKeys > before.evictedKeys) return "evicted";
  return undefined;
}
