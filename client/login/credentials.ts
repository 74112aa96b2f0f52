import type { Client } from "@connectrpc/connect";
import type { AuthService, Tokens } from "../../gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "../../gen/lucky/error/v1/error_pb.js";
import type { User } from "../../gen/lucky/user/v1/user_pb.js";
import { Backoff } from "../backoff.ts";
import { type Clock, pause } from "../clock.ts";
import { LuckyError, reasonOf } from "../error.ts";
import type { DeviceOptions } from "./device.ts";
import { type SealedPassword, sealPassword } from "./password.ts";

/**
 * Deadline of an exchange: short, because the server accepts a retry with the same token only within
 * 10 s after the exchange.
 */
const EXCHANGE_TIMEOUT_MS = 3_000;

/** Attempts of a registration, the first included. */
const MAX_REGISTER_ATTEMPTS = 3;

/** Result of a login. */
export interface LoggedIn {
  readonly user: User;
  readonly tokens: Tokens;
}

/** Registers, logs in and refreshes: the calls that need no access token. Throws LuckyErrors. */
export class Credentials {
  readonly #auth: Client<typeof AuthService>;
  readonly #clock: Clock;

  constructor(auth: Client<typeof AuthService>, clock: Clock) {
    this.#auth = auth;
    this.#clock = clock;
  }

  /**
   * Creates an account. A registration without an answer is retried under its key, so that it creates
   * one account. Throws USER_NAME_TAKEN, PASSWORD_WEAK, or UNAVAILABLE after the last attempt: the
   * outcome is unknown then.
   */
  async register(userName: string, password: string, displayName: string): Promise<User> {
    const about = { userName, displayName, clientRegistrationId: crypto.randomUUID() };
    const backoff = new Backoff({ firstMs: 200, longestMs: 5_000 });
    for (let attempts = 1; ; attempts++) {
      try {
        return await this.sealed(password, async (sealed) => {
          return (await this.#auth.register({ ...about, password: sealed })).user!;
        });
      } catch (error) {
        const { reason, retryAfterMs } = LuckyError.from(error);
        if (reason !== ErrorReason.UNAVAILABLE || attempts >= MAX_REGISTER_ATTEMPTS) throw error;
        await pause(this.#clock, backoff.next(retryAfterMs));
      }
    }
  }

  /** Logs a device in. Throws CREDENTIALS_INVALID. */
  login(userName: string, password: string, device: DeviceOptions): Promise<LoggedIn> {
    return this.sealed(password, async (sealed) => {
      const { deviceId, deviceClass, deviceName = "", clientVersion = "" } = device;
      const described = { deviceId, deviceClass, deviceName, clientVersion };
      const answer = await this.#auth.login({ userName, password: sealed, device: described });
      return { user: answer.user!, tokens: answer.tokens! };
    });
  }

  /**
   * Exchanges a refresh token. Throws REFRESH_TOKEN_INVALID when the login is over, and UNAVAILABLE
   * when there was no answer within 3 s.
   */
  async exchange(refreshToken: string): Promise<Tokens> {
    try {
      const options = { timeoutMs: EXCHANGE_TIMEOUT_MS };
      return (await this.#auth.refresh({ refreshToken }, options)).tokens!;
    } catch (error) {
      throw LuckyError.from(error);
    }
  }

  /**
   * Calls with the password encrypted under the server's key; retries once when that key was just
   * rotated. Throws LuckyErrors.
   */
  async sealed<T>(password: string, call: (sealed: SealedPassword) => Promise<T>): Promise<T> {
    const attempt = async () =>
      call(await sealPassword(await this.#auth.getPublicKey({}), password));
    try {
      return await attempt().catch((error) => {
        if (reasonOf(error) !== ErrorReason.ENCRYPTION_INVALID) throw error;
        return attempt();
      });
    } catch (error) {
      throw LuckyError.from(error);
    }
  }
}
