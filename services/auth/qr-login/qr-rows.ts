import type { Device } from "#gen/lucky/auth/v1/auth_pb.js";
import type { Clock } from "#platform/clock.ts";
import type { UserCaller } from "#platform/identity/caller.ts";
import { type Database, Prisma, type QrLogin, type Transaction } from "../database.ts";

/** A QR login in the database. Its `state` is a QrState. */
export type QrLoginRow = QrLogin;

/** waiting → scanned → confirmed → delivered, or scanned → refused. */
export type QrState = "waiting" | "scanned" | "confirmed" | "refused" | "delivered";

/** Minimum time to fetch the tokens after a confirmation just before expiry, milliseconds. */
const MIN_FETCH_MS = 15_000;

/** QR logins in the database. Each step is one guarded UPDATE, so one of several racing calls wins. */
export interface QrRows {
  create(row: {
    hash: Uint8Array<ArrayBuffer>;
    secretHash: Uint8Array<ArrayBuffer>;
    device: Device;
    coarseAddress: string;
    expiresAtMs: number;
  }): Promise<void>;
  byHash(hash: Uint8Array<ArrayBuffer>): Promise<QrLoginRow | undefined>;
  /** waiting → scanned, by the caller's login. Undefined when the guard failed. */
  scan(hash: Uint8Array<ArrayBuffer>, caller: UserCaller): Promise<QrLoginRow | undefined>;
  /** scanned → confirmed or refused, by the login that scanned. False when the guard failed. */
  decide(
    tx: Transaction,
    hash: Uint8Array<ArrayBuffer>,
    caller: UserCaller,
    decision: "confirmed" | "refused",
  ): Promise<boolean>;
  /**
   * confirmed → delivered, or → refused when the login that confirmed has ended since. Undefined when
   * the guard failed: another call won the race, or the QR login has expired.
   */
  deliver(hash: Uint8Array<ArrayBuffer>): Promise<"delivered" | "refused" | undefined>;
  /** Whether a login has not ended. */
  isLoginActive(loginId: string): Promise<boolean>;
  /** The states of QR logins, by the hex of their hash. Deleted QR logins are left out. */
  statesOf(
    hashes: readonly Uint8Array<ArrayBuffer>[],
  ): Promise<Map<string, { state: QrState; expiresAtMs: number }>>;
  /** Deletes the QR logins that expired before a time, milliseconds since the Unix epoch. */
  deleteBefore(timeMs: number): Promise<void>;
}

export function createQrRows({ database, clock }: { database: Database; clock: Clock }): QrRows {
  /** SQL condition: the login has not ended, and its account is active. */
  const activeLogin = (loginId: Prisma.Sql, userId: Prisma.Sql) => Prisma.sql`EXISTS (
    SELECT 1 FROM auth.login l JOIN auth.account a USING (user_id)
    WHERE l.login_id = ${loginId} AND l.user_id = ${userId}
      AND l.revoked_at IS NULL AND a.state = 'active')`;

  async function byHash(qrLoginHash: Uint8Array<ArrayBuffer>) {
    return (await database.qrLogin.findUnique({ where: { qrLoginHash } })) ?? undefined;
  }

  return {
    async create({ hash, secretHash, device, coarseAddress, expiresAtMs }) {
      await database.qrLogin.create({
        data: {
          qrLoginHash: hash,
          secretHash,
          deviceId: device.deviceId,
          deviceClass: device.deviceClass,
          deviceName: device.deviceName,
          clientVersion: device.clientVersion,
          coarseAddress,
          createdAt: new Date(clock.now()),
          expiresAt: new Date(expiresAtMs),
        },
      });
    },

    byHash,

    async scan(hash, { userId, loginId }) {
      const [user, login] = [Prisma.sql`${BigInt(userId)}`, Prisma.sql`${loginId}::uuid`];
      const changed = await database.$executeRaw`
        UPDATE auth.qr_login
        SET state = 'scanned', user_id = ${user}, scanner_login = ${login}
        WHERE qr_login_hash = ${hash} AND state = 'waiting'
          AND expires_at > ${new Date(clock.now())} AND ${activeLogin(login, user)}`;
      return changed === 1 ? byHash(hash) : undefined;
    },

    async decide(tx, hash, { userId, loginId }, decision) {
      const [user, login] = [Prisma.sql`${BigInt(userId)}`, Prisma.sql`${loginId}::uuid`];
      const now = clock.now();
      const fetchUntil = new Date(now + MIN_FETCH_MS);
      const changed = await tx.$executeRaw`
        UPDATE auth.qr_login
        SET state = ${decision}, expires_at = greatest(expires_at, ${fetchUntil})
        WHERE qr_login_hash = ${hash} AND state = 'scanned'
          AND user_id = ${user} AND scanner_login = ${login}
          AND expires_at > ${new Date(now)} AND ${activeLogin(login, user)}`;
      return changed === 1;
    },

    async deliver(hash) {
      const active = activeLogin(Prisma.sql`q.scanner_login`, Prisma.sql`q.user_id`);
      const [row] = await database.$queryRaw<{ state: "delivered" | "refused" }[]>`
        UPDATE auth.qr_login q
        SET state = CASE WHEN ${active} THEN 'delivered' ELSE 'refused' END
        WHERE qr_login_hash = ${hash} AND state = 'confirmed'
          AND expires_at > ${new Date(clock.now())}
        RETURNING state`;
      return row?.state;
    },

    async isLoginActive(loginId) {
      const login = await database.login.findUnique({ where: { loginId } });
      return login !== null && login.revokedAt === null;
    },

    async statesOf(hashes) {
      const rows = await database.$queryRaw<{ id: string; state: QrState; expires_at: Date }[]>`
        SELECT encode(qr_login_hash, 'hex') AS id, state, expires_at
        FROM auth.qr_login WHERE qr_login_hash = ANY(${hashes})`;
      return new Map(
        rows.map(({ id, state, expires_at }) => [id, { state, expiresAtMs: expires_at.getTime() }]),
      );
    },

    async deleteBefore(timeMs) {
      await database.qrLogin.deleteMany({ where: { expiresAt: { lt: new Date(timeMs) } } });
    },
  };
}
