import type { Tokens } from "../../gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "../../gen/lucky/error/v1/error_pb.js";
import { Backoff } from "../backoff.ts";
import { type Clock, pause } from "../clock.ts";
import { LuckyError } from "../error.ts";

/** A token is refreshed this long (ms) before it expires; a short-lived one in its last quarter. */
const REFRESH_MARGIN_MS = 30_000;

/**
 * Retries of an exchange without an answer. With the deadline of an exchange and the back-off, all of
 * them start within the 10 s for which the server accepts a token that it has exchanged already.
 */
const EXCHANGE_RETRIES = 2;

export interface TokenKeeperOptions {
  readonly clock: Clock;
  /**
   * Exchanges a refresh token, within 3 s. Rejects with UNAVAILABLE when there was no answer: the
   * server may have exchanged the token all the same.
   */
  readonly exchange: (refreshToken: string) => Promise<Tokens>;
  /** Called with new tokens: after login, resume or refresh. */
  readonly changed: (tokens: Tokens) => void;
}

/** Keeps the tokens of one login fresh. Concurrent refreshes share one call. */
export class TokenKeeper {
  readonly #options: TokenKeeperOptions;
  #tokens: Tokens | undefined;
  #marginMs = 0;
  #refreshing: Promise<string> | undefined;
  /** The server's clock minus the time of day here, and minus elapsed time once the server told it. */
  #skewMs = 0;
  #epochMs: number | undefined;

  constructor(options: TokenKeeperOptions) {
    this.#options = options;
  }

  get current(): Tokens | undefined {
    return this.#tokens;
  }

  /** Sets the tokens; `fresh` when the server has just issued them. */
  set(tokens: Tokens, { fresh }: { fresh: boolean }): void {
    this.#tokens = tokens;
    const issuedAtMs = issueTime(tokens.accessToken);
    if (fresh && issuedAtMs !== undefined) this.serverTime(issuedAtMs);
    const lifeMs = issuedAtMs === undefined ? this.#leftMs : this.#expiryMs - issuedAtMs;
    this.#marginMs = Math.min(REFRESH_MARGIN_MS, Math.max(0, lifeMs) / 4);
    this.#options.changed(tokens);
  }

  clear(): void {
    this.#tokens = undefined;
  }

  /** Sets the server's time, by which tokens expire; milliseconds since the Unix epoch. */
  serverTime(nowMs: number): void {
    const { clock } = this.#options;
    this.#skewMs = nowMs - clock.now();
    this.#epochMs = nowMs - clock.elapsed();
  }

  /** Delay until the access token should be refreshed, ms; 0 when it is due. */
  get exchangeInMs(): number {
    return Math.max(0, this.#leftMs - this.#marginMs);
  }

  /**
   * A valid access token, refreshed if it expires soon. Throws TOKEN_INVALID when no user is logged
   * in.
   */
  async access(): Promise<string> {
    const tokens = this.#tokens;
    if (!tokens) throw new LuckyError(ErrorReason.TOKEN_INVALID, "not logged in");
    if (this.exchangeInMs > 0) return tokens.accessToken;
    return this.refresh(tokens.accessToken);
  }

  /**
   * The refresh token, as a proof. It is refreshed first if it is due, so that the call which carries
   * it does not replace it. Throws like `access`.
   */
  async refreshToken(): Promise<string> {
    await this.access();
    await this.#refreshing;
    if (!this.#tokens) throw new LuckyError(ErrorReason.TOKEN_INVALID, "not logged in");
    return this.#tokens.refreshToken;
  }

  /**
   * An access token other than `stale`. Throws REFRESH_TOKEN_INVALID when the login is over, else
   * the error of the exchange.
   */
  async refresh(stale: string): Promise<string> {
    const tokens = this.#tokens;
    if (!tokens) throw new LuckyError(ErrorReason.TOKEN_INVALID, "not logged in");
    if (tokens.accessToken !== stale) return tokens.accessToken;
    this.#refreshing ??= this.#exchange(tokens).finally(() => {
      this.#refreshing = undefined;
    });
    return this.#refreshing;
  }

  async #exchange(old: Tokens): Promise<string> {
    const fresh = await this.#exchangeUntilAnswered(old);
    // Guards against a race with a logout or another login, whose tokens stay.
    if (this.#tokens === old) this.set(fresh, { fresh: true });
    return fresh.accessToken;
  }

  /** Retries an exchange whose answer was lost, while its tokens are the current ones. */
  async #exchangeUntilAnswered(old: Tokens): Promise<Tokens> {
    const { clock, exchange } = this.#options;
    const backoff = new Backoff({ firstMs: 500, longestMs: 1_000 });
    for (let retries = 0; ; retries++) {
      try {
        return await exchange(old.refreshToken);
      } catch (cause) {
        const error = LuckyError.from(cause);
        const { UNAVAILABLE, DEADLINE_EXCEEDED } = ErrorReason;
        const lost = error.reason === UNAVAILABLE || error.reason === DEADLINE_EXCEEDED;
        if (!lost || retries === EXCHANGE_RETRIES) throw error;
        await pause(clock, backoff.next());
        if (this.#tokens !== old) throw error;
      }
    }
  }

  get #expiryMs(): number {
    return Number(this.#tokens?.accessTokenExpiresAtMs ?? 0n);
  }

  /**
   * By the later of two clocks: the time of day may step back, and elapsed time may not advance while
   * the device sleeps. A token that is refreshed early does no harm.
   */
  get #leftMs(): number {
    const { clock } = this.#options;
    const byDayMs = clock.now() + this.#skewMs;
    const byElapsedMs = this.#epochMs === undefined ? byDayMs : clock.elapsed() + this.#epochMs;
    return this.#expiryMs - Math.max(byDayMs, byElapsedMs);
  }
}

/**
 * Time of issue of a JSON Web Token, ms by the server's clock; undefined when the token has none.
 */
function issueTime(token: string): number | undefined {
  try {
    const payload = token.split(".")[1]!.replaceAll("-", "+").replaceAll("_", "/");
    const { iat } = JSON.parse(atob(payload)) as { iat?: unknown };
    return typeof iat === "number" ? iat * 1_000 : undefined;
  } catch {
    return undefined;
  }
}
