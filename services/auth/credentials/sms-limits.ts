import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";
import type { Budget, Limiter } from "#platform/limiter/limiter.ts";
import type { AuthConfig } from "../config.ts";
import type { Transaction } from "../database.ts";
import { coarseAddress } from "../logins/coarse-address.ts";

const HOUR_MS = 3_600_000;
export const DAY_MS = 86_400_000;

/** How a code counts against the budget of the day. */
export type DailyUse =
  /** It goes to the number of an account. */
  | "account"
  /** It goes to any number. */
  | "any number"
  /** It is useless without an account, and its number has none: no message is sent. */
  | "not sent";

/** Limits on sending codes. Each method throws RATE_LIMITED with the time to wait, except the first. */
export interface SmsLimits {
  /** Throws PHONE_INVALID when no codes are sent to the number's country. */
  requireCountry(phone: string): void;
  /** Takes from the hourly budget of the address; calls within the process are not limited. */
  limitAddress(address: string | undefined): Promise<void>;
  /** Checks the codes stored for the number, in the transaction that stores the next one. */
  limitNumber(
    tx: Transaction,
    phoneIndexes: Uint8Array<ArrayBuffer>[],
    nowMs: number,
  ): Promise<void>;
  /**
   * Takes from the daily budget of all numbers together, and for "any number" also from its share
   * for new numbers, so that strangers' numbers cannot use up the codes of users. Takes nothing for
   * "not sent", but refuses it whenever it refuses "account", so that the answer does not disclose
   * which of them it is.
   */
  limitDay(use: DailyUse): Promise<void>;
}

/**
 * The limits of a number are counted in the table of codes: exactly, over restarts and all
 * instances. The limiter counts addresses and the daily budget.
 */
export function createSmsLimits({
  config,
  limiter,
}: {
  config: Pick<
    AuthConfig,
    | "smsCountries"
    | "smsNewNumbersPercent"
    | "smsPerAddressPerHour"
    | "smsPerDay"
    | "smsPerNumberPerDay"
    | "smsPerNumberPerHour"
    | "smsResendSeconds"
  >;
  limiter: Pick<Limiter, "take">;
}): SmsLimits {
  // Their settings are live.
  const perAddress = (): Budget => ({
    name: "sms_address",
    points: config.smsPerAddressPerHour,
    windowMs: HOUR_MS,
  });
  const perDay = (): Budget => ({ name: "sms_day", points: config.smsPerDay, windowMs: DAY_MS });
  const newPerDay = (): Budget => ({
    name: "sms_day_new",
    points: Math.floor((config.smsPerDay * config.smsNewNumbersPercent) / 100),
    windowMs: DAY_MS,
  });

  async function take(budget: Budget, key: string, points = 1): Promise<void> {
    const result = await limiter.take(budget, key, points);
    if (!result.allowed) throw tooMany(result.retryAfterMs);
  }

  return {
    requireCountry(phone) {
      const { smsCountries: countries } = config;
      if (countries.length === 0 || countries.some((code) => phone.startsWith(code))) return;
      throw fail(ErrorReason.PHONE_INVALID, "phone: no codes are sent to this country");
    },
    async limitAddress(address) {
      if (address !== undefined) await take(perAddress(), coarseNetworkOf(address));
    },
    async limitNumber(tx, phoneIndexes, nowMs) {
      const sent = await tx.smsCode.findMany({
        where: { phoneIndex: { in: phoneIndexes }, createdAt: { gt: new Date(nowMs - DAY_MS) } },
        select: { createdAt: true },
        orderBy: { createdAt: "desc" },
      });
      const sentAtMs = sent.map(({ createdAt }) => createdAt.getTime());
      // With a limit of n, the nth latest code must be at least as old as the window.
      const waits = [
        { nth: 1, windowMs: config.smsResendSeconds * 1_000 },
        { nth: config.smsPerNumberPerHour, windowMs: HOUR_MS },
        { nth: config.smsPerNumberPerDay, windowMs: DAY_MS },
      ].map(
        ({ nth, windowMs }) => (sentAtMs[nth - 1] ?? Number.NEGATIVE_INFINITY) + windowMs - nowMs,
      );
      const waitMs = Math.max(...waits);
      if (waitMs > 0) throw tooMany(waitMs);
    },
    async limitDay(use) {
      if (use === "any number") {
        const budget = newPerDay();
        if (budget.points === 0) throw tooMany(DAY_MS);
        await take(budget, "all");
      }
      await take(perDay(), "all", use === "not sent" ? 0 : 1);
    },
  };
}

const tooMany = (retryAfterMs: number) =>
  fail(ErrorReason.RATE_LIMITED, "too many codes", { retryAfterMs });

/**
 * Requests are counted by network for IPv6, because a user has many addresses, and by address for
 * IPv4.
 */
const coarseNetworkOf = (address: string): string =>
  address.includes(":") ? coarseAddress(address) : address;
