import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { fail } from "#platform/errors.ts";
import type { Limiter } from "#platform/limiter/limiter.ts";
import type { AuthConfig } from "../config.ts";
import type { Transaction } from "../database.ts";
import { coarseAddress } from "../logins/coarse-address.ts";

const HOUR_MS = 3_600_000;
export const DAY_MS = 86_400_000;

/** What bounds the sending of codes. Each throws RATE_LIMITED with the time to wait. */
export interface SmsLimits {
  /** Takes from the budget of the address; nothing for calls of the same process. */
  limitAddress(address: string | undefined): Promise<void>;
  /** Looks at what was sent to the number, within the transaction that will send once more. */
  limitNumber(
    tx: Transaction,
    phoneIndexes: Uint8Array<ArrayBuffer>[],
    nowMs: number,
  ): Promise<void>;
  /** Takes from the budget of the day. */
  limitDay(): Promise<void>;
}

/**
 * Numbers are counted in the table of codes, exactly, over restarts and instances; addresses and the
 * day by the limiter.
 */
export function createSmsLimits({
  config,
  limiter,
}: {
  config: Pick<
    AuthConfig,
    | "smsPerAddressPerHour"
    | "smsPerDay"
    | "smsPerNumberPerDay"
    | "smsPerNumberPerHour"
    | "smsResendSeconds"
  >;
  limiter: Pick<Limiter, "take">;
}): SmsLimits {
  const perAddress = {
    name: "sms_address",
    points: config.smsPerAddressPerHour,
    windowMs: HOUR_MS,
  };
  const perDay = { name: "sms_day", points: config.smsPerDay, windowMs: DAY_MS };

  async function take(budget: typeof perDay, key: string): Promise<void> {
    const taken = await limiter.take(budget, key);
    if (!taken.allowed) throw tooMany(taken.retryAfterMs);
  }

  return {
    async limitAddress(address) {
      if (address !== undefined) await take(perAddress, networkOf(address));
    },
    async limitNumber(tx, phoneIndexes, nowMs) {
      const sent = await tx.smsCode.findMany({
        where: { phoneIndex: { in: phoneIndexes }, createdAt: { gt: new Date(nowMs - DAY_MS) } },
        select: { createdAt: true },
        orderBy: { createdAt: "desc" },
      });
      const times = sent.map(({ createdAt }) => createdAt.getTime());
      // The n-th last has to be as old as the window.
      const waits = [
        { nth: 1, windowMs: config.smsResendSeconds * 1_000 },
        { nth: config.smsPerNumberPerHour, windowMs: HOUR_MS },
        { nth: config.smsPerNumberPerDay, windowMs: DAY_MS },
      ].map(({ nth, windowMs }) => (times[nth - 1] ?? Number.NEGATIVE_INFINITY) + windowMs - nowMs);
      const waitMs = Math.max(...waits);
      if (waitMs > 0) throw tooMany(waitMs);
    },
    limitDay: () => take(perDay, "all"),
  };
}

const tooMany = (retryAfterMs: number) =>
  fail(ErrorReason.RATE_LIMITED, "too many codes", { retryAfterMs });

/** Who has one IPv6 address has as many as he likes: his network is counted. */
const networkOf = (address: string): string =>
  address.includes(":") ? coarseAddress(address) : address;
