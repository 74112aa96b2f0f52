import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import { type AuthService, DeviceClass } from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { SecurityNoticeKind } from "#gen/lucky/frame/v1/frame_pb.js";
import type { Clock } from "#platform/clock.ts";
import { fail } from "#platform/errors.ts";
import { type UserCaller, userOf } from "#platform/identity/caller.ts";
import { peerAddress } from "#platform/rpc/peer.ts";
import type { Accounts } from "../accounts/accounts.ts";
import type { ProvenChanges } from "../credentials/proven-changes.ts";
import type { Database } from "../database.ts";
import { coarseAddress } from "../logins/coarse-address.ts";
import type { SecurityNotices } from "../notices/security-notices.ts";
import { hashOf } from "./qr-codes.ts";
import type { QrLoginRow, QrRows } from "./qr-rows.ts";

export type QrApprovalMethods = "scanQrLogin" | "confirmQrLogin" | "refuseQrLogin";

interface Dependencies {
  accounts: Accounts;
  clock: Clock;
  database: Database;
  notices: SecurityNotices;
  provenChanges: ProvenChanges;
  rows: QrRows;
}

/** The methods for the phone, which scans the code and confirms or refuses the login. */
export function createQrApproval({
  accounts,
  clock,
  database,
  notices,
  provenChanges,
  rows,
}: Dependencies): Pick<ServiceImpl<typeof AuthService>, QrApprovalMethods> {
  /** Determines why the guarded UPDATE of a step changed no row. */
  async function refusalOf(hash: Uint8Array<ArrayBuffer>, caller: UserCaller): Promise<Error> {
    const row = await rows.byHash(hash);
    if (!row) return fail(ErrorReason.QR_LOGIN_NOT_FOUND, "there is no such QR login");
    if (row.expiresAt.getTime() <= clock.now())
      return fail(ErrorReason.QR_LOGIN_EXPIRED, "the QR login has expired");
    if (row.userId !== null && !isScanner(row, caller))
      return fail(ErrorReason.QR_LOGIN_FOREIGN, "another phone has scanned the QR login");
    const account = await accounts.byId(caller.userId);
    if (account?.state !== "active")
      return fail(ErrorReason.ACCOUNT_DISABLED, "the account is disabled");
    if (!(await rows.isLoginActive(caller.loginId)))
      return fail(ErrorReason.TOKEN_REVOKED, "the login has ended");
    return fail(ErrorReason.QR_LOGIN_STEP, `the QR login is ${row.state}`);
  }

  /** The row after a scan. A retry of the same scan returns the same row. */
  async function scan(hash: Uint8Array<ArrayBuffer>, caller: UserCaller): Promise<QrLoginRow> {
    const scanned = await rows.scan(hash, caller);
    if (scanned) return scanned;
    const current = await rows.byHash(hash);
    const isRetry = current?.state === "scanned" && isScanner(current, caller);
    if (!isRetry || current.expiresAt.getTime() <= clock.now()) throw await refusalOf(hash, caller);
    return current;
  }

  /** Whether the caller's login has made the same decision before, such as by a lost call. */
  async function isRepeated(
    hash: Uint8Array<ArrayBuffer>,
    caller: UserCaller,
    decision: "confirmed" | "refused",
  ): Promise<boolean> {
    const row = await rows.byHash(hash);
    // The tokens of a confirmed QR login may have been delivered already.
    const state = row?.state === "delivered" ? "confirmed" : row?.state;
    return row !== undefined && state === decision && isScanner(row, caller);
  }

  return {
    async scanQrLogin({ qrLoginId }, context) {
      const caller = phoneOf(context);
      const hash = hashOf(qrLoginId);
      const before = await rows.byHash(hash);
      // The new login would replace the phone's own login, because the device id is the same.
      if (before?.deviceId === caller.deviceId)
        throw fail(ErrorReason.QR_LOGIN_STEP, "a device cannot log itself in");
      const row = await scan(hash, caller);
      const { deviceId, deviceClass, deviceName, clientVersion } = row;
      return {
        device: { deviceId, deviceClass, deviceName, clientVersion },
        coarseAddress: row.coarseAddress,
        expiresAtMs: BigInt(row.expiresAt.getTime()),
      };
    },

    async confirmQrLogin({ qrLoginId, proof }, context) {
      const caller = phoneOf(context);
      const hash = hashOf(qrLoginId);
      // The refusal is thrown after the transaction: it reads the row through another connection.
      const notice = await provenChanges.run(context, { proof, accepts: "any" }, async (tx) => {
        if (!(await rows.decide(tx, hash, caller, "confirmed"))) return undefined;
        const { userId, loginId } = caller;
        const kind = SecurityNoticeKind.QR_LOGIN_CONFIRMED;
        const network = coarseAddress(context.values.get(peerAddress));
        return notices.record(tx, { userId, kind, loginId, coarseAddress: network });
      });
      if (notice) notices.send(notice);
      else if (!(await isRepeated(hash, caller, "confirmed"))) throw await refusalOf(hash, caller);
      return {};
    },

    async refuseQrLogin({ qrLoginId }, context) {
      const caller = phoneOf(context);
      const hash = hashOf(qrLoginId);
      if (await rows.decide(database, hash, caller, "refused")) return {};
      if (!(await isRepeated(hash, caller, "refused"))) throw await refusalOf(hash, caller);
      return {};
    },
  };
}

/** The calling phone. Throws PHONE_DEVICE_REQUIRED for other devices. */
function phoneOf(context: HandlerContext): UserCaller {
  const caller = userOf(context);
  if (caller.deviceClass === DeviceClass.MOBILE) return caller;
  throw fail(ErrorReason.PHONE_DEVICE_REQUIRED, "only a phone may log other devices in");
}

function isScanner({ userId, scannerLogin }: QrLoginRow, caller: UserCaller): boolean {
  return String(userId) === caller.userId && scannerLogin === caller.loginId;
}
