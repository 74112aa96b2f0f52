import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import type { DeviceService } from "#gen/lucky/auth/v1/device_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { SecurityNoticeKind } from "#gen/lucky/frame/v1/frame_pb.js";
import type { Clock } from "#platform/clock.ts";
import { fail } from "#platform/errors.ts";
import { userOf } from "#platform/identity/caller.ts";
import { decodePosition, encodePosition, pageOf, pageTokenRefused } from "#platform/rpc/pages.ts";
import { peerAddress } from "#platform/rpc/peer.ts";
import type { ProvenChanges } from "./credentials/proven-changes.ts";
import type { Database, Login, Prisma } from "./database.ts";
import { coarseAddress } from "./logins/coarse-address.ts";
import type { Logins } from "./logins/logins.ts";
import { continuing } from "./logins/refresh-tokens.ts";
import type { SecurityNotices } from "./notices/security-notices.ts";

/** Logins in one page when the request names no size. */
const DEFAULT_PAGE_SIZE = 200;

/** DeviceService: lists, renames and revokes the devices that the caller is logged in on. */
export function createDevice({
  clock,
  database,
  logins,
  notices,
  provenChanges,
}: {
  clock: Clock;
  database: Database;
  logins: Pick<Logins, "end" | "notifyRevoked" | "revokeAll">;
  notices: SecurityNotices;
  provenChanges: ProvenChanges;
}): Pick<
  ServiceImpl<typeof DeviceService>,
  "listDevices" | "renameDevice" | "revokeDevice" | "revokeOtherDevices"
> {
  const networkOf = ({ values }: HandlerContext) => coarseAddress(values.get(peerAddress));
  const missing = () => fail(ErrorReason.DEVICE_NOT_FOUND, "you have no such device");
  const active = (userId: string) => ({
    userId: BigInt(userId),
    ...continuing(new Date(clock.now())),
  });

  return {
    async listDevices({ pageSize, pageToken }, context) {
      const { userId, loginId } = userOf(context);
      const size = pageSize || DEFAULT_PAGE_SIZE;
      const found = await database.login.findMany({
        where: { ...active(userId), ...afterLogin(pageToken) },
        // Neither changes during a login, so that no login moves between pages.
        orderBy: [{ createdAt: "desc" }, { loginId: "asc" }],
        take: size + 1,
      });
      const { page, nextPageToken } = pageOf(found, size, pageTokenOfLogin);
      const confirmers = page.flatMap(({ confirmedBy }) => confirmedBy ?? []);
      const confirming = await database.login.findMany({
        where: { ...active(userId), loginId: { in: confirmers } },
      });
      const deviceIds = new Map(confirming.map((login) => [login.loginId, login.deviceId]));
      // A login whose confirming login has expired cannot continue either.
      const listed = page.filter(
        ({ confirmedBy }) => confirmedBy === null || deviceIds.has(confirmedBy),
      );
      return {
        nextPageToken,
        devices: listed.map((login) => ({
          device: {
            deviceId: login.deviceId,
            deviceClass: login.deviceClass,
            deviceName: login.deviceName,
            clientVersion: login.clientVersion,
          },
          loggedInAtMs: BigInt(login.createdAt.getTime()),
          lastSeenAtMs: BigInt(login.lastSeenAt.getTime()),
          coarseAddress: login.coarseAddress,
          current: login.loginId === loginId,
          confirmedByDeviceId: deviceIds.get(login.confirmedBy ?? "") ?? "",
        })),
      };
    },

    async renameDevice({ deviceId, deviceName }, context) {
      const where = { ...active(userOf(context).userId), deviceId };
      const { count } = await database.login.updateMany({ where, data: { deviceName } });
      if (count === 0) throw missing();
      return {};
    },

    async revokeDevice({ deviceId, proof }, context) {
      const { userId, loginId, deviceId: ownDeviceId } = userOf(context);
      if (deviceId === ownDeviceId) {
        await logins.revokeAll(userId, { reason: "device", deviceId });
        return {};
      }
      const requested = { proof, accepts: "any" } as const;
      const { ended, notice } = await provenChanges.run(context, requested, async (tx) => {
        const scope = { reason: "device", deviceId, exceptLoginId: loginId } as const;
        const ended = await logins.end(tx, userId, scope);
        // The login of the device is first; logins that it confirmed follow.
        const [first] = ended;
        if (!first) {
          // The rows of ended logins stay for a while, so that a retry is told from a wrong id.
          const past = { userId: BigInt(userId), deviceId, loginId: { not: loginId } };
          if ((await tx.login.count({ where: past })) === 0) throw missing();
          return { ended, notice: undefined };
        }
        const kind = SecurityNoticeKind.DEVICE_REVOKED;
        const event = { userId, kind, loginId: first.loginId, coarseAddress: networkOf(context) };
        return { ended, notice: await notices.record(tx, event) };
      });
      logins.notifyRevoked(ended);
      if (notice) notices.send(notice);
      return {};
    },

    async revokeOtherDevices({ proof }, context) {
      const { userId, loginId } = userOf(context);
      const requested = { proof, accepts: "any" } as const;
      const { ended, notice } = await provenChanges.run(context, requested, async (tx) => {
        const scope = { reason: "device", exceptLoginId: loginId } as const;
        const ended = await logins.end(tx, userId, scope);
        if (ended.length === 0) return { ended, notice: undefined };
        const kind = SecurityNoticeKind.OTHER_DEVICES_REVOKED;
        const event = { userId, kind, loginId, coarseAddress: networkOf(context) };
        return { ended, notice: await notices.record(tx, event) };
      });
      logins.notifyRevoked(ended);
      if (notice) notices.send(notice);
      return { revoked: ended.length };
    },
  };
}

/** The token of the page that follows a login: when it began, and its id. */
const pageTokenOfLogin = ({ createdAt, loginId }: Login): string =>
  encodePosition(`${createdAt.getTime()}.${loginId}`);

/** Matches the logins of a page in the order of ListDevices. Throws INVALID_ARGUMENT. */
function afterLogin(pageToken: string): Prisma.LoginWhereInput {
  if (pageToken === "") return {};
  const [, ms, afterId] =
    /^(\d{1,15})\.([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/.exec(decodePosition(pageToken)) ??
    [];
  if (!ms || !afterId) throw pageTokenRefused();
  const createdAt = new Date(Number(ms));
  return { OR: [{ createdAt: { lt: createdAt } }, { createdAt, loginId: { gt: afterId } }] };
}
