import { createHash, randomUUID } from "node:crypto";
import { SmsPurpose } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { SmsCode } from "#gen/prisma/client.ts";
import type { Clock } from "#platform/clock.ts";
import { fail } from "#platform/errors.ts";
import type { Limiter } from "#platform/limiter/limiter.ts";
import type { Log } from "#platform/log.ts";
import type { Metrics } from "#platform/metrics.ts";
import type { SmsSender } from "#platform/sms/sms.ts";
import type { AuthConfig } from "../config.ts";
import type { Database, Transaction } from "../database.ts";
import type { Codes } from "../keys/codes.ts";
import type { ColumnEncryption } from "../keys/column-encryption.ts";
import { createSmsDelivery } from "./sms-delivery.ts";
import { createSmsLimits, DAY_MS } from "./sms-limits.ts";

/** What a code is for. */
export interface CodeUse {
  /** E.164, normalised. */
  phone: string;
  purpose: SmsPurpose;
  /** Of purposes BIND and PROVE: who calls. */
  userId?: string;
}

/** A code as somebody gives it. */
export interface GivenCode extends CodeUse {
  code: string;
}

/** Codes sent by message: sent, guessed at, used once. */
export interface SmsCodes {
  /**
   * Sends a fresh code, which voids older ones of the same use. `address` is where the wish comes
   * from. A code that only an account can use is sent only to a number that has one, and the answer
   * neither says so nor waits for it. Throws RATE_LIMITED, OVERLOADED or, where it goes to any
   * number, SMS_NOT_SENT. Times are milliseconds since the Unix epoch.
   */
  send(
    use: CodeUse,
    address: string | undefined,
  ): Promise<{ expiresAtMs: number; resendAfterMs: number }>;
  /**
   * Uses codes up, all or none, and does `work` in the same transaction: when `work` throws, neither
   * happened, and the codes are as good as before. Those who redeem for one number do so one after
   * the other. Throws SMS_CODE_INVALID or SMS_CODE_EXHAUSTED; a wrong guess is counted for good.
   */
  redeem<T>(given: readonly GivenCode[], work: (tx: Transaction) => Promise<T>): Promise<T>;
  /** Deletes what can never be used again. */
  tidy(): Promise<void>;
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

  /** Stores a code after those before it are void. Says whether it is to be sent. */
  async function store(tx: Transaction, use: CodeUse, code: string, now: Date): Promise<boolean> {
    await lockNumber(tx, use.phone);
    await limits.number(tx, indexesOf(use.phone), now.getTime());
    await limits.day();
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
    const where = { phoneIndex: { in: indexesOf(use.phone) } };
    const account = await tx.account.findFirst({ where, select: { userId: true } });
    return account !== null || !needsAccount(use.purpose);
  }

  /** Takes one guess at the live code of the use, before anybody knows whether it is right. */
  async function guess(use: CodeUse): Promise<SmsCode> {
    const live = await database.smsCode.findFirst({
      where: { ...whereOf(use), usedAt: null, expiresAt: { gt: new Date(clock.now()) } },
      orderBy: { createdAt: "desc" },
    });
    if (!live) throw invalid();
    const { smsCodeId } = live;
    const { count } = await database.smsCode.updateMany({
      where: { smsCodeId, attempts: { lte: config.smsCodeAttempts } },
      data: { attempts: { increment: 1 } },
    });
    if (count === 0)
      throw fail(ErrorReason.SMS_CODE_EXHAUSTED, "the code was guessed at too often");
    return live;
  }

  /** The id of the code that was given, when it is right. */
  async function proved({ code, ...use }: GivenCode): Promise<string> {
    const { smsCodeId, codeHash } = await guess(use);
    if (codes.matches(codeHash, code, contextOf(smsCodeId, use))) return smsCodeId;
    throw invalid();
  }

  return {
    async send(use, address) {
      delivery.requireRoom();
      await limits.address(address);
      const code = codes.make();
      const now = new Date(clock.now());
      const wanted = await database.$transaction((tx) => store(tx, use, code, now));
      if (!needsAccount(use.purpose)) await delivery.send(use.phone, code);
      else if (wanted) delivery.begin(use.phone, code);
      return {
        expiresAtMs: now.getTime() + config.smsCodeSeconds * 1_000,
        resendAfterMs: config.smsResendSeconds * 1_000,
      };
    },

    async redeem(given, work) {
      const right: string[] = [];
      try {
        for (const one of given) right.push(await proved(one));
        return await database.$transaction(async (tx) => {
          // In one order: who redeems the same two the other way round waits, and is not waited for.
          for (const phone of given.map((one) => one.phone).toSorted()) await lockNumber(tx, phone);
          const { count } = await tx.smsCode.updateMany({
            where: { smsCodeId: { in: right }, usedAt: null },
            data: { usedAt: new Date(clock.now()) },
          });
          if (count < right.length) throw invalid();
          return work(tx);
        });
      } catch (error) {
        // They were right, so they were no guesses.
        await database.smsCode.updateMany({
          where: { smsCodeId: { in: right } },
          data: { attempts: { decrement: 1 } },
        });
        throw error;
      }
    },

    async tidy() {
      // They are counted for a day.
      const before = new Date(clock.now() - DAY_MS);
      await database.smsCode.deleteMany({
        where: { createdAt: { lt: before }, expiresAt: { lt: before } },
      });
    },
  };
}

/** Whether nobody without an account can use such a code. */
const needsAccount = (purpose: SmsPurpose): boolean =>
  purpose === SmsPurpose.LOGIN || purpose === SmsPurpose.RESET;

const contextOf = (smsCodeId: string, { phone, purpose, userId = "" }: CodeUse): string =>
  `${smsCodeId} ${phone} ${purpose} ${userId}`;

const invalid = () => fail(ErrorReason.SMS_CODE_INVALID, "the code is not good");

/** Until the end of the transaction nobody else sends to the number, proves it or takes it. */
async function lockNumber(tx: Transaction, phone: string): Promise<void> {
  // Hashed: statements may be logged.
  const lock = createHash("sha256").update(`auth.phone ${phone}`).digest().readBigInt64BE();
  await tx.$executeRaw`SELECT pg_advisory_xact_lock(${lock})`;
}
