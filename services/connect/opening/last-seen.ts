import type { Client } from "@connectrpc/connect";
import {
  RecordLastSeenRequestSchema,
  type SessionService,
} from "#gen/lucky/internal/session/v1/session_pb.js";
import { Coalescer } from "#platform/batching/coalesce.ts";
import type { Clock } from "#platform/clock.ts";
import { maxItems } from "#platform/constraints.ts";
import type { Log } from "#platform/log.ts";

interface Seen {
  readonly loginId: string;
  readonly seenAtMs: number;
}

export interface LastSeenOptions {
  logins: Pick<Client<typeof SessionService>, "recordLastSeen">;
  clock: Clock;
  log: Log;
  config: {
    readonly lastSeenMs: number;
    readonly lastSeenLingerMs: number;
    readonly lastSeenQueue: number;
    readonly callTimeoutMs: number;
  };
}

const BATCH_LIMIT = maxItems(RecordLastSeenRequestSchema.field.seen);
const ATTEMPTS = 3;

/**
 * Tells auth when logins were online: when a session opens, when it ends, and every `lastSeenMs` in
 * between. News of a moment are joined and go in batches; those that cannot be told are dropped: the
 * next ones say more.
 */
export class LastSeen {
  readonly #news: Coalescer<Seen>;
  readonly #clock: Clock;
  readonly #everyMs: number;

  constructor({ logins, clock, log, config }: LastSeenOptions) {
    this.#clock = clock;
    this.#everyMs = config.lastSeenMs;
    this.#news = new Coalescer({
      clock,
      limit: BATCH_LIMIT,
      lingerMs: config.lastSeenLingerMs,
      queue: config.lastSeenQueue,
      attempts: ATTEMPTS,
      call: (seen) =>
        logins.recordLastSeen(
          {
            seen: seen.map(({ loginId, seenAtMs }) => ({ loginId, seenAtMs: BigInt(seenAtMs) })),
          },
          { timeoutMs: config.callTimeoutMs },
        ),
      dropped: (count, err) => log.warn({ event: "last_seen_dropped", logins: count, err }),
    });
  }

  /** A login is online, or was until now. */
  saw(loginId: string): void {
    const seen = { loginId, seenAtMs: this.#clock.now() };
    this.#news.put(loginId, () => seen);
  }

  /**
   * Looks at an open session, for the time since it was last looked at. Nothing is kept for it: the
   * turns of a session are counted from its beginning, so they are spread as the beginnings are.
   */
  look(
    { openedAtMs }: { readonly openedAtMs: number },
    loginId: string,
    { fromMs, toMs }: { readonly fromMs: number; readonly toMs: number },
  ): void {
    const turn = (ms: number) => Math.floor((ms - openedAtMs) / this.#everyMs);
    if (turn(toMs) > Math.max(0, turn(fromMs))) this.saw(loginId);
  }

  /** Tells what waits and takes nothing more. Resolves when auth has it, or cannot be reached. */
  close(): Promise<void> {
    return this.#news.close();
  }
}
