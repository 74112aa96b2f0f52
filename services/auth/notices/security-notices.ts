import { create, toBinary } from "@bufbuild/protobuf";
import {
  type LoginMethod,
  type SecurityNotice,
  type SecurityNoticeKind,
  SecurityNoticeSchema,
  ServerFrameSchema,
} from "#gen/lucky/frame/v1/frame_pb.js";
import { EnvelopeSchema } from "#gen/lucky/internal/envelope/v1/envelope_pb.js";
import type { Bus } from "#platform/bus/bus.ts";
import { userChannel } from "#platform/channels.ts";
import type { Clock } from "#platform/clock.ts";
import type { Log } from "#platform/log.ts";
import { locateOrAll } from "#platform/registry/locate-or-all.ts";
import type { Registry } from "#platform/registry/registry.ts";
import type { Database, SecurityNotice as Row, Transaction } from "../database.ts";

/** A security event of an account. */
export interface SecurityEvent {
  userId: string;
  kind: SecurityNoticeKind;
  /** The login of the device concerned; absent: none. */
  loginId?: string;
  /** Network of the caller, shortened; absent: not known. */
  coarseAddress?: string;
  /** How the device logged in; of DEVICE_LOGGED_IN only. */
  loginMethod?: LoginMethod;
}

/** A stored notice of a user. */
export interface StoredNotice {
  userId: string;
  notice: SecurityNotice;
}

/** Notices of security events: stored for 30 days, and sent to the user's online devices. */
export interface SecurityNotices {
  /**
   * Stores a notice in the transaction of its event: both are committed, or neither. Beyond 1,000
   * notices of a user the oldest one is deleted. After the commit the caller passes the result to
   * `send`.
   */
  record(tx: Transaction, event: SecurityEvent): Promise<StoredNotice>;
  /**
   * Sends in the background and returns at once. A notice that fails is logged and not retried: its
   * devices list it.
   */
  send(stored: StoredNotice): void;
  /** The user's notices of the last 30 days, newest first, before an id: at most `size`. */
  list(
    userId: string,
    page: { size: number; before: bigint | undefined },
  ): Promise<SecurityNotice[]>;
  /** Deletes notices older than 30 days. */
  deleteExpired(): Promise<void>;
}

const RETENTION_MS = 30 * 86_400_000;
/** Maximum notices of one user: a thief with the password must not fill the database. */
const MAX_PER_USER = 1_000;
/** Time-out of one notice. */
const PUBLISH_TIMEOUT_MS = 5_000;

export function createSecurityNotices({
  bus,
  clock,
  database,
  log,
  registry,
}: {
  bus: Pick<Bus, "publish">;
  clock: Clock;
  database: Database;
  log: Log;
  registry: Pick<Registry, "instances" | "locate">;
}): SecurityNotices {
  async function publish({ userId, notice }: StoredNotice): Promise<void> {
    const channels = [userChannel(userId)];
    const body = encode(notice, channels);
    const [instanceIds = []] = await locateOrAll(registry, channels);
    const signal = AbortSignal.timeout(PUBLISH_TIMEOUT_MS);
    await Promise.all(instanceIds.map((instanceId) => bus.publish(instanceId, body, signal)));
  }
  const oldest = () => new Date(clock.now() - RETENTION_MS);

  return {
    async record(tx, { userId, kind, loginId = null, coarseAddress = "", loginMethod = 0 }) {
      const id = BigInt(userId);
      const rows = await tx.$queryRaw<Inserted[]>`
        WITH excess AS (
          DELETE FROM auth.security_notice WHERE user_id = ${id} AND notice_id <= (
            SELECT notice_id FROM auth.security_notice WHERE user_id = ${id}
            ORDER BY notice_id DESC OFFSET ${MAX_PER_USER - 1} LIMIT 1)
        )
        INSERT INTO auth.security_notice
          (user_id, kind, device_id, device_name, coarse_address, login_method, at)
        SELECT ${id}::bigint, ${kind}::smallint,
          coalesce(device_id, ''), left(coalesce(device_name, ''), 64), left(${coarseAddress}, 64),
          ${loginMethod}::smallint, ${new Date(clock.now())}::timestamptz
        FROM (SELECT 1) AS one LEFT JOIN auth.login ON login_id = ${loginId}::uuid
        RETURNING notice_id AS "noticeId", device_id AS "deviceId", device_name AS "deviceName",
          kind, coarse_address AS "coarseAddress", login_method AS "loginMethod", at`;
      return { userId, notice: noticeOf(rows[0]!) };
    },

    send(stored) {
      publish(stored).catch((err: unknown) => {
        const { kind } = stored.notice;
        log.warn({ event: "security_notice_failed", kind, userId: stored.userId, err });
      });
    },

    async list(userId, { size, before }) {
      const rows = await database.securityNotice.findMany({
        where: {
          userId: BigInt(userId),
          at: { gte: oldest() },
          ...(before === undefined ? {} : { noticeId: { lt: before } }),
        },
        orderBy: { noticeId: "desc" },
        take: size,
      });
      return rows.map(noticeOf);
    },

    async deleteExpired() {
      await database.securityNotice.deleteMany({ where: { at: { lt: oldest() } } });
    },
  };
}

type Inserted = Omit<Row, "userId">;

function noticeOf({ noticeId, at, ...rest }: Inserted): SecurityNotice {
  const { kind, deviceId, deviceName, coarseAddress, loginMethod } = rest;
  return create(SecurityNoticeSchema, {
    noticeId: String(noticeId),
    kind,
    deviceId,
    deviceName,
    coarseAddress,
    loginMethod,
    atMs: BigInt(at.getTime()),
  });
}

function encode(value: SecurityNotice, channels: string[]): Uint8Array {
  const message = create(ServerFrameSchema, { kind: { case: "securityNotice", value } });
  const frame = toBinary(ServerFrameSchema, message);
  return toBinary(EnvelopeSchema, create(EnvelopeSchema, { signals: [{ channels, frame }] }));
}
