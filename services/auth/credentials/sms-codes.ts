import { createHash, randomUUID } from "node:crypto";
import { SmsPurpose } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { Clock } from "#platform/clock.ts";
import { fail } from "#platform/errors.ts";
import type { Limiter } from "#platform/limiter/limiter.ts";
import type { Log } from "#platform/log.ts";
import type { Metrics } from "#platform/metrics.ts";
import type { SmsSender } from "#platform/sms/sms.ts";
import type { AuthConfig } from "../config.ts";
import type { Database, SmsCode, Transaction } from "../database.ts";
import type { Codes } from "../keys/codes.ts";
import type { ColumnEncryption } from "../keys/column-encryption.ts";
import { createSmsDelivery } from "./sms-delivery.ts";
import { createSmsLimits, DAY_MS, type DailyUse } from "./sms-limits.ts";

/** The use that a code is limited to. */
export interface CodeUse {
  /** E.164, normalised. */
  phone: string;
  purpose: SmsPurpose;
  /** The caller; set for the purposes BIND and PROVE only. */
  userId?: string;
}

/** A code as the caller entered it. */
export interface GivenCode extends CodeUse {
  code: string;
}

/** One-time codes by SMS: sending, counting wrong guesses, redeeming. */
export interface SmsCodes {
  /**
   * Sends a new code, which invalidates older codes of the same use. `address` is the address of
   * the caller. Codes that need an account (purposes LOGIN and RESET) are sent only to numbers of
   * accounts; they are sent in the background, so neither answer nor duration discloses the
   * account. Throws PHONE_INVALID for a country without codes, RATE_LIMITED, OVERLOADED or, for the
   * other purposes, SMS_NOT_SENT.
   * `expiresAtMs` is milliseconds since the Unix epoch, `resendAfterMs` is a duration.
   */
  send(
    use: CodeUse,
    address: string | undefined,
  ): Promise<{ expiresAtMs: number; resendAfterMs: number }>;
  /**
   * Consumes the codes, all or none, and runs `work` in the same transaction: when `work` throws,
   * both are rolled back and the codes stay valid. A lock per number serialises redemptions. Throws
   * SMS_CODE_INVALID or SMS_CODE_EXHAUSTED; the count of a wrong guess is never rolled back.
   */
  redeem<T>(given: readonly GivenCode[], work: (tx: Transaction) => Promise<T>): Promise<T>;
  /** Deletes codes that are expired and no longer count against the limits of a number. */
  deleteExpired(): Promise<void>;
}

export function createSmsCodes(options: {
  config: AuthConfig;
  database: Database;
  codes: Codes;
  columns: ColumnEncryption;
  sms: SmsSender;
  limiter: Limiter;
  clock: Clock;
  log: Log;
  metrics: Metrics;
}): SmsCodes {
  const { config, database, codes, columns, clock } = options;
  const limits = createSmsLimits(options);
  const delivery = createSmsDelivery(options);

  const indexesOf = (phone: string) => columns.blindIndexes(phone, "account.phone");
  const whereOf = ({ phone, purpose, userId }: CodeUse) => ({
    phoneIndex: { in: indexesOf(phone) },
    purpose,
    userId: userId === undefined ? null : BigInt(userId),
  });

  /** Invalidates older codes, then stores the new one. Returns whether it should be sent. */
  async function store(tx: Transaction, use: CodeUse, code: string, now: Date): Promise<boolean> {
    await lockNumber(tx, use.phone);
    await limits.limitNumber(tx, indexesOf(use.phone), now.getTime());
    const where = { phoneIndex: { in: indexesOf(use.phone) } };
    const account = await tx.account.findFirst({ where, select: { userId: true } });
    const daily = dailyUseOf(use.purpose, account !== null);
    await limits.limitDay(daily);
    await tx.smsCode.updateMany({
      where: { ...whereOf(use), usedAt: null },
      data: { usedAt: now },
    });
    const smsCodeId = randomUUID();
    await tx.smsCode.create({
      data: {
        smsCodeId,
        phoneIndex: columns.blindIndex(use.phone, "account.phone"),
        purpose: use.purpose,
        userId: use.userId === undefined ? null : BigInt(use.userId),
        codeHash: codes.hash(code, contextOf(smsCodeId, use)),
        createdAt: now,
        expiresAt: new Date(now.getTime() + config.smsCodeSeconds * 1_000),
      },
    });
    return daily !== "not sent";
  }

  /**
   * The valid code of a use. Counts the guess first, so concurrent guesses cannot exceed the bound.
   */
  async function countGuess(use: CodeUse): Promise<SmsCode> {
    const current = await database.smsCode.findFirst({
      where: { ...whereOf(use), usedAt: null, expiresAt: { gt: new Date(clock.now()) } },
      orderBy: { createdAt: "desc" },
    });
    if (!current) throw smsCodeInvalid();
    const { smsCodeId } = current;
    const { count } = await database.smsCode.updateMany({
      where: { smsCodeId, attempts: { lte: config.smsCodeAttempts } },
      data: { attempts: { increment: 1 } },
    });
    if (count === 0)
      throw fail(ErrorReason.SMS_CODE_EXHAUSTED, "too many wrong guesses at this code");
    return current;
  }

  /** The id of the entered code. Throws SMS_CODE_INVALID or SMS_CODE_EXHAUSTED. */
  async function verify({ code, ...use }: GivenCode): Promise<string> {
    const { smsCodeId, codeHash } = await countGuess(use);
    if (codes.matches(codeHash, code, contextOf(smsCodeId, use))) return smsCodeId;
    throw smsCodeInvalid();
  }

  return {
    async send(use, address) {
      limits.requireCountry(use.phone);
      delivery.requireCapacity();
      await limits.limitAddress(address);
      const code = codes.make();
      const now = new Date(clock.now());
      const shouldSend = await database.$transaction((tx) => store(tx, use, code, now));
      if (!needsAccount(use.purpose)) await delivery.send(use.phone, code);
      else if (shouldSend) delivery.sendInBackground(use.phone, code);
      return {
        expiresAtMs: now.getTime() + config.smsCodeSeconds * 1_000,
        resendAfterMs: config.smsResendSeconds * 1_000,
      };
    },

    async redeem(given, work) {
      const verified: string[] = [];
      try {
        for (const one of given) verified.push(await verify(one));
        return await database.$transaction(async (tx) => {
          // Locks are taken in sorted order: requests with the same numbers cannot deadlock.
          for (const phone of given.map((one) => one.phone).toSorted()) await lockNumber(tx, phone);
          const { count } = await tx.smsCode.updateMany({
            where: { smsCodeId: { in: verified }, usedAt: null },
            data: { usedAt: new Date(clock.now()) },
          });
          if (count < verified.length) throw smsCodeInvalid();
          return work(tx);
        });
      } catch (error) {
        // These codes were right, so their attempts do not count as guesses.
        await database.smsCode.updateMany({
          where: { smsCodeId: { in: verified } },
          data: { attempts: { decrement: 1 } },
        });
        throw error;
      }
    },

    async deleteExpired() {
      // The limits of a number count codes of the last day.
      const before = new Date(clock.now() - DAY_MS);
      await database.smsCode.deleteMany({
        where: { createdAt: { lt: before }, expiresAt: { lt: before } },
      });
    },
  };
}

/** Whether a code of this purpose is useless without an account. */
const needsAccount = (purpose: SmsPurpose): boolean =>
  purpose === SmsPurpose.LOGIN || purpose === SmsPurpose.RESET;

/** PROVE codes go to the number of the caller's account. */
function dailyUseOf(purpose: SmsPurpose, hasAccount: boolean): DailyUse {
  if (needsAccount(purpose)) return hasAccount ? "account" : "not sent";
  return purpose === SmsPurpose.PROVE ? "account" : "any number";
}

const contextOf = (smsCodeId: string, { phone, purpose, userId = "" }: CodeUse): string =>
  `${smsCodeId} ${phone} ${purpose} ${userId}`;

/** One error for a wrong code and for a number without an account: it must not disclose which. */
export const smsCodeInvalid = () => fail(ErrorReason.SMS_CODE_INVALID, "the code is not valid");

/** Serialises sending to a number, redeeming for it and binding it, until the transaction ends. */
async function lockNumber(tx: Transaction, phone: string): Promise<void> {
  // The number is hashed because statements may be logged.
  const lock = createHash("sha256").update(`auth.phone ${phone}`).digest().readBigInt64BE();
  await tx.$executeRaw`SELECT pg_advisory_xact_lock(${lock})`;
}
