import type { Tokens } from "../../gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "../../gen/lucky/error/v1/error_pb.js";
import type { Clock } from "../clock.ts";
import { LuckyError } from "../error.ts";

/** At most so long before its end a token is exchanged; a short-lived one in its last quarter. */
const REFRESH_MARGIN_MS = 30_000;

/** What a TokenKeeper needs. */
export interface TokenKeeperOptions {
  readonly clock: Clock;
  /** Exchanges a refresh token. */
  readonly exchange: (refreshToken: string) => Promise<Tokens>;
  /** New tokens are there: by login, resume or refresh. */
  readonly changed: (tokens: Tokens) => void;
}

/** Keeps the tokens of one login fresh. Never two refreshes at a time. */
export class TokenKeeper {
  readonly #options: TokenKeeperOptions;
  #tokens: Tokens | undefined;
  #marginMs = 0;
  #refreshing: Promise<string> | undefined;
  /** The server's clock minus ours. */
  #skewMs = 0;

  constructor(options: TokenKeeperOptions) {
    this.#options = options;
  }

  get current(): Tokens | undefined {
    return this.#tokens;
  }

  /** Takes tokens; `fresh` when the server made them just now. */
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

  /** Tells the server's time, against which tokens expire; milliseconds since the Unix epoch. */
  serverTime(nowMs: number): void {
    this.#skewMs = nowMs - this.#options.clock.now();
  }

  /** In how many milliseconds the access token should be exchanged; 0 when now. */
  get exchangeInMs(): number {
    return Math.max(0, this.#leftMs - this.#marginMs);
  }

  /** An access token that is good for a while. Throws TOKEN_INVALID when nobody is logged in. */
  async access(): Promise<string> {
    const tokens = this.#tokens;
    if (!tokens) throw new LuckyError(ErrorReason.TOKEN_INVALID, "not logged in");
    if (this.exchangeInMs > 0) return tokens.accessToken;
    return this.refresh(tokens.accessToken);
  }

  /**
   * Another access token than `stale`. Throws REFRESH_TOKEN_INVALID when the login is over, else
   * what kept the exchange from happening.
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
    const fresh = await this.#options.exchange(old.refreshToken);
    // Logged out, or in as somebody else, meanwhile: their tokens stay.
    if (this.#tokens === old) this.set(fresh, { fresh: true });
    return fresh.accessToken;
  }

  get #expiryMs(): number {
    return Number(this.#tokens?.accessTokenExpiresAtMs ?? 0n);
  }

  get #leftMs(): number {
    return this.#expiryMs - this.#skewMs - this.#options.clock.now();
  }
}

/** When a JSON Web Token was made, milliseconds by the server's clock; undefined if it is not told. */
function issueTime(token: string): number | undefined {
  try {
    const payload = token.split(".")[1]!.replaceAll("-", "+").replaceAll("_", "/");
    const { iat } = JSON.parse(atob(payload)) as { iat?: unknown };
    return typeof iat === "number" ? iat * 1_000 : undefined;
  } catch {
    return undefined;
  }
}
