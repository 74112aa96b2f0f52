import type { Client } from "@connectrpc/connect";
import type { SessionService } from "#gen/lucky/internal/session/v1/session_pb.js";
import type { Clock, Timer } from "#platform/clock.ts";
import type { Log } from "#platform/log.ts";

/**
 * A key that auth publishes, one that it did publish since it was first asked and does no more, or
 * one that it never told of, perhaps because it was made this very moment.
 */
export type KeyState = "published" | "withdrawn" | "unknown";

/** Logins that ended before their access tokens did, and keys whose tokens are no good any more. */
export interface Revocations {
  /** Whether the login (claim `sid`) has ended. */
  revoked(loginId: string): boolean;
  /** What auth says of a key that signs access tokens (header `kid`). */
  keyState(keyId: string): KeyState;
  /** Calls `listener` once for each login that ends from now on. */
  onRevoked(listener: (loginId: string) => void): void;
  /**
   * Is told of a login that has just ended, by the bus, ahead of the next question. Until when its
   * tokens are good is in milliseconds since the Unix epoch. Idempotent.
   */
  learn(loginId: string, expiresAtMs: number): void;
  /** Stops watching; what is known stays. Idempotent. */
  close(): void;
}

/** Revocations that are learnt from auth. */
export interface WatchedRevocations extends Revocations {
  /** Resolves when the whole list is known for the first time. Never rejects. */
  readonly loaded: Promise<void>;
}

export interface WatchOptions {
  readonly client: Pick<Client<typeof SessionService>, "listRevocations">;
  readonly clock: Clock;
  /** Time between the end of one question and the next. */
  readonly intervalMs: number;
  readonly log: Log;
}

const DEADLINE_MS = 5_000;

/**
 * Asks auth again and again which logins ended since it last asked, and which keys there are. While
 * auth cannot be reached, what is known stays in force. An entry is forgotten when its access tokens
 * have expired; a withdrawn key never is, and never comes back.
 */
export function watchRevocations({
  client,
  clock,
  intervalMs,
  log,
}: WatchOptions): WatchedRevocations {
  /** Login id → when its last access token expires. */
  const ended = new Map<string, number>();
  const listeners: ((loginId: string) => void)[] = [];
  let keyIds: readonly string[] = [];
  const withdrawn = new Set<string>();
  const stop = new AbortController();
  const { promise: loaded, resolve: setLoaded } = Promise.withResolvers<void>();
  let cursor = 0n;
  let failing = false;
  let timer: Timer | undefined;

  function learn(loginId: string, expiresAtMs: number): void {
    if (ended.has(loginId) || expiresAtMs <= clock.now()) return;
    ended.set(loginId, expiresAtMs);
    for (const listener of listeners) listener(loginId);
  }

  function learnKeys(now: readonly string[]): void {
    // An auth of before the keys were told says none.
    if (now.length === 0) return;
    for (const keyId of keyIds) {
      if (now.includes(keyId) || withdrawn.has(keyId)) continue;
      withdrawn.add(keyId);
      log.info({ event: "access_key_gone", keyId });
    }
    keyIds = now;
  }

  async function ask(): Promise<void> {
    const options = { signal: stop.signal, timeoutMs: DEADLINE_MS };
    let pageToken = "";
    let nextCursor: bigint;
    do {
      const answer = await client.listRevocations({ cursor, pageToken }, options);
      for (const { loginId, expiresAtMs } of answer.revocations)
        learn(loginId, Number(expiresAtMs));
      learnKeys(answer.accessKeyIds);
      ({ nextCursor, nextPageToken: pageToken } = answer);
    } while (pageToken !== "");
    cursor = nextCursor;
    const now = clock.now();
    for (const [loginId, expiresAtMs] of ended) if (expiresAtMs <= now) ended.delete(loginId);
  }

  function turn(): void {
    ask()
      .then(
        () => {
          setLoaded();
          if (failing) log.info({ event: "revocations_back" });
          failing = false;
        },
        (err: unknown) => {
          if (!failing && !stop.signal.aborted) log.warn({ event: "revocations_unknown", err });
          failing = true;
        },
      )
      .then(() => {
        if (!stop.signal.aborted) timer = clock.after(intervalMs, turn);
      });
  }
  turn();

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
