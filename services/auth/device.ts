import type { ServiceImpl } from "@connectrpc/connect";
import type { DeviceService } from "#gen/lucky/auth/v1/device_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { Clock } from "#platform/clock.ts";
import { fail } from "#platform/errors.ts";
import { userOf } from "#platform/identity/caller.ts";
import { requirePrintable } from "#platform/validation/printable.ts";
import type { Database } from "./database.ts";
import type { Logins } from "./logins/logins.ts";

/** DeviceService: lists, renames and revokes the devices that the caller is logged in on. */
export function createDevice({
  clock,
  database,
  logins,
}: {
  clock: Clock;
  database: Database;
  logins: Pick<Logins, "revokeAll">;
}): Pick<
  ServiceImpl<typeof DeviceService>,
  "listDevices" | "renameDevice" | "revokeDevice" | "revokeOtherDevices"
> {
  const missing = () => fail(ErrorReason.DEVICE_NOT_FOUND, "you have no such device");
  /** Matches logins that can continue: not revoked, and with a valid unused refresh token. */
  const active = (userId: string) => ({
    userId: BigInt(userId),
    revokedAt: null,
    refreshTokens: { some: { usedAt: null, expiresAt: { gt: new Date(clock.now()) } } },
  });

  return {
    async listDevices(_request, context) {
      const { userId, loginId } = userOf(context);
      // All of them, so that no login can hide. The setting maxLogins bounds their number.
      const found = await database.login.findMany({
        where: active(userId),
        orderBy: [{ lastSeenAt: "desc" }, { loginId: "asc" }],
      });
      return {
        devices: found.map((login) => ({
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
        })),
      };
    },

    async renameDevice({ deviceId, deviceName }, context) {
      requirePrintable("device_name", deviceName);
      const where = { ...active(userOf(context).userId), deviceId };
      const { count } = await database.login.updateMany({ where, data: { deviceName } });
      if (count === 0) throw missing();
      return {};
    },

    async revokeDevice({ deviceId }, context) {
      const { userId } = userOf(context);
      if ((await logins.revokeAll(userId, { reason: "device", deviceId })) === 0) throw missing();
      return {};
    },

    async revokeOtherDevices(_request, context) {
      const { userId, loginId: exceptLoginId } = userOf(context);
      return { revoked: await logins.revokeAll(userId, { reason: "device", exceptLoginId }) };
    },
  };
}
