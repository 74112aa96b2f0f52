import type { Client } from "@connectrpc/connect";
import type { SessionService } from "#gen/lucky/internal/session/v1/session_pb.js";
import type { Clock, Timer } from "#platform/clock.ts";
import type { Log } from "#platform/log.ts";

/**
 * State of a key that signs access tokens. "published": in auth's latest answer. "withdrawn": in an
 * earlier answer, but no longer. "unknown": in no answer so far, perhaps because the key is new.
 */
export type KeyState = "published" | "withdrawn" | "unknown";

/**
 * Logins that ended before their access tokens expired, and keys whose tokens are no longer valid.
 */
export interface Revocations {
  /** Whether the login (claim `sid`) has ended. */
  revoked(loginId: string): boolean;
  /** State of a key that signs access tokens (header `kid`). */
  keyState(keyId: string): KeyState;
  /** Calls `listener` once for each login that ends after this call. */
  onRevoked(listener: (loginId: string) => void): void;
  /**
   * Adds a login that has just ended, received from the bus before the next poll. `expiresAtMs` is
   * the expiry of its last access token, milliseconds since the Unix epoch. Idempotent.
   */
  learn(loginId: string, expiresAtMs: number): void;
  /** Stops polling; the known revocations stay. Idempotent. */
  close(): void;
}

/** Revocations that are polled from auth. */
export interface WatchedRevocations extends Revocations {
  /** Resolves when the whole list is loaded for the first time. Never rejects. */
  readonly loaded: Promise<void>;
}

export interface WatchOptions {
  readonly client: Pick<Client<typeof SessionService>, "listRevocations">;
  readonly clock: Clock;
  /** Time between the end of one poll and the start of the next. */
  readonly intervalMs: number;
  readonly log: Log;
}

const DEADLINE_MS = 5_000;

/** Difference between the time of day and elapsed time after which the clock has stepped, ms. */
const STEP_MS = 1_000;
/** A login is kept at least this long: auth returns it in each poll of half a minute. */
const MIN_KEPT_MS = 60_000;

/**
 * Polls auth for the logins that ended since the last poll, and for the published keys. While auth
 * cannot be reached, the known revocations stay in force. A login is evicted when its access tokens
 * have expired, by elapsed time. When the time of day steps, expired tokens may be valid again: the
 * next poll reads the whole list. A withdrawn key stays withdrawn for the life of the process, even
 * when auth publishes it.
 */
export function watchRevocations({
  client,
  clock,
  intervalMs,
  log,
}: WatchOptions): WatchedRevocations {
  /** By login id: elapsed time at which its last access token has expired, ms. */
  const ended = new Map<string, number>();
  const listeners: ((loginId: string) => void)[] = [];
  let keyIds: readonly string[] = [];
  const withdrawn = new Set<string>();
  const stop = new AbortController();
  const { promise: loaded, resolve: setLoaded } = Promise.withResolvers<void>();
  let cursor = 0n;
  /** The time of day minus elapsed time at the last complete poll. */
  let epochMs = Number.NaN;
  let failing = false;
  let timer: Timer | undefined;

  function learn(loginId: string, expiresAtMs: number): void {
    if (ended.has(loginId)) return;
    ended.set(loginId, clock.elapsed() + Math.max(MIN_KEPT_MS, expiresAtMs - clock.now()));
    // Also when its tokens have expired: after a step of the clock a session outlives its token.
    for (const listener of listeners) listener(loginId);
  }

  function updateKeys(published: readonly string[]): void {
    // An older version of auth sends no keys.
    if (published.length === 0) return;
    for (const keyId of keyIds) {
      if (published.includes(keyId) || withdrawn.has(keyId)) continue;
      withdrawn.add(keyId);
      log.info({ event: "access_key_gone", keyId });
    }
    keyIds = published;
  }

  async function poll(): Promise<void> {
    const options = { signal: stop.signal, timeoutMs: DEADLINE_MS };
    const startEpochMs = clock.now() - clock.elapsed();
    if (Math.abs(startEpochMs - epochMs) > STEP_MS) cursor = 0n;
    let pageToken = "";
    let nextCursor: bigint;
    do {
      const answer = await client.listRevocations({ cursor, pageToken }, options);
      for (const { loginId, expiresAtMs } of answer.revocations)
        learn(loginId, Number(expiresAtMs));
      updateKeys(answer.accessKeyIds);
      ({ nextCursor, nextPageToken: pageToken } = answer);
    } while (pageToken !== "");
    cursor = nextCursor;
    epochMs = startEpochMs;
    const now = clock.elapsed();
    for (const [loginId, untilMs] of ended) if (untilMs <= now) ended.delete(loginId);
  }

  function pollForever(): void {
    poll()
      .then(
        () => {
          setLoaded();
          if (failing) log.info({ event: "revocations_refreshed" });
          failing = false;
        },
        (err: unknown) => {
          if (!failing && !stop.signal.aborted)
            log.warn({ event: "revocations_not_refreshed", err });
          failing = true;
        },
      )
      .then(() => {
        if (!stop.signal.aborted) timer = clock.after(intervalMs, pollForever);
      });
  }
  pollForever();

  return {
    loaded,
    learn,
    revoked: (loginId) => ended.has(loginId),
    keyState(keyId) {
      if (withdrawn.has(keyId)) return "withdrawn";
      return keyIds.includes(keyId) ? "published" : "unknown";
    },
    onRevoked: (listener) => void listeners.push(listener),
    close() {
      stop.abort();
      timer?.stop();
    },
  };
}
