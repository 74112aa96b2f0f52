import { create } from "@bufbuild/protobuf";
import {
  DeviceSchema,
  type QrLogin,
  QrLoginSchema,
  QrLoginState,
  type Tokens,
} from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { Clock } from "#platform/clock.ts";
import { fail } from "#platform/errors.ts";
import { type Accounts, userOfAccount } from "../accounts/accounts.ts";
import type { Account } from "../database.ts";
import type { Issuer } from "../logins/issuer.ts";
import type { QrLoginRow, QrRows, QrState } from "./qr-rows.ts";

/** Delivers states, and once the tokens, to requesting devices. */
export interface QrDelivery {
  /**
   * Returns the state of a QR login. If it is confirmed, logs the device in and returns the tokens;
   * of concurrent calls only one gets them. `address` is the IP address of the device. Throws
   * QR_LOGIN_STEP when the tokens were already delivered or the phone's login has ended, and as
   * Issuer.logIn does.
   */
  deliver(row: QrLoginRow, address: string | undefined): Promise<QrLogin>;
}

interface Dependencies {
  accounts: Accounts;
  clock: Clock;
  issuer: Issuer;
  rows: QrRows;
}

export function createQrDelivery({ accounts, clock, issuer, rows }: Dependencies): QrDelivery {
  async function deliver(row: QrLoginRow, address: string | undefined): Promise<QrLogin> {
    // The user who scanned the code, from the current account, even if it was deleted in the
    // meantime.
    const scanner = row.userId === null ? undefined : await accounts.byId(String(row.userId));
    const answer = create(QrLoginSchema, {
      state: stateOf(row, clock.now()),
      scannedBy: scanner && userOfAccount(scanner),
      expiresAtMs: BigInt(row.expiresAt.getTime()),
    });
    if (row.state === "delivered") throw alreadyDelivered();
    if (answer.state !== QrLoginState.CONFIRMED || !scanner) return answer;

    const state = await rows.deliver(row.qrLoginHash);
    // This call has won the race: no other call can deliver the tokens.
    if (state === "delivered") return { ...answer, tokens: await logIn(row, scanner, address) };
    const current = await rows.byHash(row.qrLoginHash);
    if (!current || current.state === "delivered") throw alreadyDelivered();
    if (current.state === "confirmed") return { ...answer, state: QrLoginState.EXPIRED };
    return deliver(current, address);
  }

  async function logIn(
    row: QrLoginRow,
    scanner: Account,
    address: string | undefined,
  ): Promise<Tokens> {
    const { deviceId, deviceClass, deviceName, clientVersion } = row;
    const device = create(DeviceSchema, { deviceId, deviceClass, deviceName, clientVersion });
    // `rows.deliver` has found it.
    const confirmedBy = row.scannerLogin!;
    const login = { device, method: "qr", confirmedBy, address } as const;
    return (await issuer.logIn(scanner, login)).tokens;
  }

  return { deliver };
}

/** The state in the form that the requesting device receives. */
function stateOf({ state, expiresAt }: QrLoginRow, nowMs: number): QrLoginState {
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

function alreadyDelivered(): Error {
  return fail(ErrorReason.QR_LOGIN_STEP, "the tokens were already delivered");
}
