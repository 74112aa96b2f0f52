import { create } from "@bufbuild/protobuf";
import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import {
  type AuthService,
  DeviceClass,
  DeviceSchema,
  type GetQrLoginRequest,
  type QrLogin,
  QrLoginSchema,
  QrLoginState,
} from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import { SecurityNoticeKind } from "#gen/lucky/frame/v1/frame_pb.js";
import { fail } from "#platform/errors.ts";
import { type UserCaller, userOf } from "#platform/identity/caller.ts";
import { requirePrintable } from "#platform/printable.ts";
import { peerAddress } from "#platform/rpc/peer.ts";
import { userOfAccount } from "../accounts/accounts.ts";
import type { Account } from "../database.ts";
import type { AuthDependencies } from "../dependencies.ts";
import { coarseAddress } from "../logins/coarse-address.ts";
import { drawQrCode, hashOf, isHashOf, makeQrLogin } from "./qr-codes.ts";
import { createQrRows, type QrLoginRow, type QrState } from "./qr-rows.ts";
import { createQrWatches } from "./qr-watches.ts";

/** What the asking device proves itself with. */
type Asking = Pick<GetQrLoginRequest, "qrLoginId" | "secret" | "deviceId">;

/** Logs devices in by a code on their screen that a phone reads. */
export function createQrLogins(
  d: AuthDependencies,
): Pick<
  ServiceImpl<typeof AuthService>,
  | "createQrLogin"
  | "watchQrLogin"
  | "getQrLogin"
  | "scanQrLogin"
  | "confirmQrLogin"
  | "refuseQrLogin"
> {
  const { accounts, clock, config, issuer, logins, notices } = d;
  const rows = createQrRows(d);
  const watches = createQrWatches({ ...d, rows });

  /** Who scanned: whoever is there now, deleted or not. */
  async function scannerOf({ userId }: QrLoginRow): Promise<Account | undefined> {
    return userId === null ? undefined : accounts.byId(String(userId));
  }

  /** The QR login of the device that asked for it. Whatever does not fit reads the same. */
  async function ofAskingDevice({ qrLoginId, secret, deviceId }: Asking) {
    const row = await rows.byHash(hashOf(qrLoginId));
    if (!row || !isHashOf(row.secretHash, secret) || row.deviceId !== deviceId) {
      throw fail(ErrorReason.QR_LOGIN_NOT_FOUND, "this device has no such QR login");
    }
    return row;
  }

  /** How it goes, with the tokens if they are to be handed out now. */
  async function stateOf(row: QrLoginRow, address: string | undefined): Promise<QrLogin> {
    const scanner = await scannerOf(row);
    const told = create(QrLoginSchema, {
      state: stateNow(row, clock.now()),
      scannedBy: scanner && userOfAccount(scanner),
      expiresAtMs: BigInt(row.expiresAt.getTime()),
    });
    if (row.state === "delivered") throw handedOut();
    if (told.state !== QrLoginState.CONFIRMED || !scanner) return told;

    // From here on the tokens are this call's alone.
    const state = await rows.deliver(row.qrLoginHash);
    if (state === "delivered") {
      const { tokens } = await letIn(row, scanner, address);
      return { ...told, tokens };
    }
    const now = await rows.byHash(row.qrLoginHash);
    if (now && now.state !== "delivered" && now.state !== "confirmed") return stateOf(now, address);
    if (now?.state === "confirmed") return { ...told, state: QrLoginState.EXPIRED };
    throw handedOut();
  }

  async function letIn(row: QrLoginRow, scanner: Account, address: string | undefined) {
    const { deviceId, deviceClass, deviceName, clientVersion } = row;
    const device = { deviceId, deviceClass, deviceName, clientVersion };
    const entrance = { device: create(DeviceSchema, device), method: "qr" as const, address };
    const entered = await issuer.logIn(scanner, entrance);
    const userId = String(scanner.userId);
    // The user may have ended all logins, such as by a new password, at this very moment.
    if (!row.scannerLogin || !(await rows.isLoginActive(row.scannerLogin))) {
      await logins.revokeAll(userId, { reason: "device", deviceId });
      throw fail(ErrorReason.QR_LOGIN_STEP, "the phone that confirmed is not logged in any more");
    }
    const kind = SecurityNoticeKind.DEVICE_LOGGED_IN;
    notices.tell({ userId, kind, deviceId, deviceName });
    return entered;
  }

  /** The caller, on a phone. */
  function phoneOf(context: HandlerContext): UserCaller {
    const caller = userOf(context);
    if (caller.deviceClass === DeviceClass.MOBILE) return caller;
    throw fail(ErrorReason.PHONE_DEVICE_REQUIRED, "only a phone may let other devices in");
  }

  /** Why a step of the phone was not to be. */
  async function refusalOf(hash: Uint8Array<ArrayBuffer>, caller: UserCaller): Promise<Error> {
    const row = await rows.byHash(hash);
    if (!row) return fail(ErrorReason.QR_LOGIN_NOT_FOUND, "there is no such QR login");
    if (row.expiresAt.getTime() <= clock.now())
      return fail(ErrorReason.QR_LOGIN_EXPIRED, "the QR login is past its time");
    if (row.userId !== null && !isScanner(row, caller))
      return fail(ErrorReason.QR_LOGIN_FOREIGN, "another phone has scanned the QR login");
    const account = await accounts.byId(caller.userId);
    if (account?.state !== "active")
      return fail(ErrorReason.ACCOUNT_DISABLED, "the account is disabled");
    if (!(await rows.isLoginActive(caller.loginId)))
      return fail(ErrorReason.TOKEN_REVOKED, "the login has ended");
    return fail(ErrorReason.QR_LOGIN_STEP, `the QR login is ${row.state}`);
  }

  async function decide(
    context: HandlerContext,
    qrLoginId: string,
    decision: "confirmed" | "refused",
  ) {
    const caller = phoneOf(context);
    const hash = hashOf(qrLoginId);
    if (!(await rows.decide(hash, caller, decision))) throw await refusalOf(hash, caller);
    return {};
  }

  return {
    async createQrLogin({ device }, context) {
      if (!device) throw fail(ErrorReason.INVALID_ARGUMENT, "device: value is required");
      requirePrintable("device.device_name", device.deviceName);
      requirePrintable("device.client_version", device.clientVersion);
      const { qrLoginId, secret } = makeQrLogin();
      const expiresAtMs = clock.now() + config.qrLoginSeconds * 1_000;
      await rows.create({
        hash: hashOf(qrLoginId),
        secretHash: hashOf(secret),
        device,
        coarseAddress: coarseAddress(context.values.get(peerAddress)),
        expiresAtMs,
      });
      return {
        qrLoginId,
        secret,
        ...drawQrCode(qrLoginId),
        expiresAtMs: BigInt(expiresAtMs),
      };
    },

    async *watchQrLogin(request, { values, signal }) {
      const address = values.get(peerAddress);
      let row = await ofAskingDevice(request);
      const watch = watches.open(hashOf(request.qrLoginId), signal);
      let told: QrLoginState | undefined;
      try {
        for (;;) {
          // Tokens are made once: not for a device that has left.
          signal.throwIfAborted();
          const qrLogin = await stateOf(row, address);
          if (qrLogin.state !== told) yield { qrLogin };
          told = qrLogin.state;
          if (isOver(qrLogin.state)) return;
          const { state, expiresAt } = row;
          await watch.changed({ state: state as QrState, expiresAtMs: expiresAt.getTime() });
          row = await ofAskingDevice(request);
        }
      } finally {
        watch.close();
      }
    },

    async getQrLogin(request, { values }) {
      const row = await ofAskingDevice(request);
      return { qrLogin: await stateOf(row, values.get(peerAddress)) };
    },

    async scanQrLogin({ qrLoginId }, context) {
      const caller = phoneOf(context);
      const hash = hashOf(qrLoginId);
      const before = await rows.byHash(hash);
      // It would take the phone's own login away.
      if (before?.deviceId === caller.deviceId)
        throw fail(ErrorReason.QR_LOGIN_STEP, "a device cannot let itself in");
      let row = await rows.scan(hash, caller);
      if (!row) {
        const again = await rows.byHash(hash);
        const repeated = again?.state === "scanned" && isScanner(again, caller);
        if (!repeated || again.expiresAt.getTime() <= clock.now())
          throw await refusalOf(hash, caller);
        row = again;
      }
      const { deviceId, deviceClass, deviceName, clientVersion } = row;
      return {
        device: { deviceId, deviceClass, deviceName, clientVersion },
        coarseAddress: row.coarseAddress,
        expiresAtMs: BigInt(row.expiresAt.getTime()),
      };
    },

    confirmQrLogin: ({ qrLoginId }, context) => decide(context, qrLoginId, "confirmed"),
    refuseQrLogin: ({ qrLoginId }, context) => decide(context, qrLoginId, "refused"),
  };
}

function isScanner({ userId, scannerLogin }: QrLoginRow, caller: UserCaller): boolean {
  return String(userId) === caller.userId && scannerLogin === caller.loginId;
}

/** The state as the asking device reads it. */
function stateNow({ state, expiresAt }: QrLoginRow, nowMs: number): QrLoginState {
  if (state === "refused") return QrLoginState.REFUSED;
  if (expiresAt.getTime() <= nowMs) return QrLoginState.EXPIRED;
  switch (state as QrState) {
    case "waiting":
      return QrLoginState.WAITING;
    case "scanned":
      return QrLoginState.SCANNED;
    case "confirmed":
    case "delivered":
      return QrLoginState.CONFIRMED;
    case "refused":
      return QrLoginState.REFUSED;
  }
}

function isOver(state: QrLoginState): boolean {
  return state !== QrLoginState.WAITING && state !== QrLoginState.SCANNED;
}

function handedOut(): Error {
  return fail(ErrorReason.QR_LOGIN_STEP, "the tokens were handed out");
}
