import type { ServiceImpl } from "@connectrpc/connect";
import {
  type AuthService,
  type GetQrLoginRequest,
  QrLoginState,
} from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { Clock } from "#platform/clock.ts";
import { fail } from "#platform/errors.ts";
import { peerAddress } from "#platform/rpc/peer.ts";
import type { AuthConfig } from "../config.ts";
import { coarseAddress } from "../logins/coarse-address.ts";
import { givenDevice } from "../logins/given-device.ts";
import { drawQrCode, hashOf, isHashOf, makeQrLogin } from "./qr-codes.ts";
import type { QrDelivery } from "./qr-delivery.ts";
import type { QrLoginRow, QrRows, QrState } from "./qr-rows.ts";
import type { QrWatches } from "./qr-watches.ts";

export type QrRequestMethods = "createQrLogin" | "watchQrLogin" | "getQrLogin";

/** The credentials of the requesting device. */
type Requester = Pick<GetQrLoginRequest, "qrLoginId" | "secret" | "deviceId">;

interface Dependencies {
  clock: Clock;
  config: Pick<AuthConfig, "qrLoginSeconds">;
  delivery: QrDelivery;
  rows: QrRows;
  watches: QrWatches;
}

/** The methods for the requesting device, which shows the code and waits for its tokens. */
export function createQrRequests({
  clock,
  config,
  delivery,
  rows,
  watches,
}: Dependencies): Pick<ServiceImpl<typeof AuthService>, QrRequestMethods> {
  /** Throws QR_LOGIN_NOT_FOUND; the error does not say which of the credentials is wrong. */
  async function rowOf({ qrLoginId, secret, deviceId }: Requester): Promise<QrLoginRow> {
    const row = await rows.byHash(hashOf(qrLoginId));
    if (!row || !isHashOf(row.secretHash, secret) || row.deviceId !== deviceId) {
      throw fail(ErrorReason.QR_LOGIN_NOT_FOUND, "this device has no such QR login");
    }
    return row;
  }

  return {
    async createQrLogin({ device }, context) {
      const { qrLoginId, secret } = makeQrLogin();
      const expiresAtMs = clock.now() + config.qrLoginSeconds * 1_000;
      await rows.create({
        hash: hashOf(qrLoginId),
        secretHash: hashOf(secret),
        device: givenDevice(device),
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
      let row = await rowOf(request);
      const watch = watches.open(hashOf(request.qrLoginId), signal);
      let sent: QrLoginState | undefined;
      try {
        for (;;) {
          // Tokens are delivered once: do not deliver them to a device that has disconnected.
          signal.throwIfAborted();
          const qrLogin = await delivery.deliver(row, address);
          if (qrLogin.state !== sent) yield { qrLogin };
          sent = qrLogin.state;
          if (isFinal(qrLogin.state)) return;
          const { state, expiresAt } = row;
          await watch.waitForChange({
            state: state as QrState,
            expiresAtMs: expiresAt.getTime(),
          });
          row = await rowOf(request);
        }
      } finally {
        watch.close();
      }
    },

    async getQrLogin(request, { values }) {
      const row = await rowOf(request);
      return { qrLogin: await delivery.deliver(row, values.get(peerAddress)) };
    },
  };
}

function isFinal(state: QrLoginState): boolean {
  return state !== QrLoginState.WAITING && state !== QrLoginState.SCANNED;
}
