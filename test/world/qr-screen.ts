import { randomUUID } from "node:crypto";
import { type Client, createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport } from "@connectrpc/connect-node";
import { AuthService, type Device, DeviceClass, type QrLogin } from "#gen/lucky/auth/v1/auth_pb.js";
import type { Reachable } from "./people.ts";

/** Protocol of a client's calls. */
export type Protocol = "grpc" | "connect";

/** Creates a client of AuthService without an access token. */
export function anonymousAuth(
  url: string,
  protocol: Protocol = "connect",
): Client<typeof AuthService> {
  const transport =
    protocol === "grpc"
      ? createGrpcTransport({ baseUrl: url })
      : createConnectTransport({ baseUrl: url, httpVersion: "1.1" });
  return createClient(AuthService, transport);
}

/** A device that shows a QR code and waits for its login to be confirmed. */
export class QrScreen {
  readonly auth: Client<typeof AuthService>;
  readonly qrLoginId: string;
  /** Proof that this device created the QR login. */
  readonly credentials: { qrLoginId: string; secret: string; deviceId: string };

  private constructor(auth: Client<typeof AuthService>, credentials: QrScreen["credentials"]) {
    this.auth = auth;
    this.credentials = credentials;
    this.qrLoginId = credentials.qrLoginId;
  }

  static async show(
    world: Reachable,
    device: Partial<Pick<Device, "deviceId" | "deviceClass" | "deviceName">> = {},
    protocol: Protocol = "connect",
  ): Promise<QrScreen> {
    const auth = anonymousAuth(world.url, protocol);
    const fullDevice = { deviceId: randomUUID(), deviceClass: DeviceClass.DESKTOP, ...device };
    const { qrLoginId, secret } = await auth.createQrLogin({ device: fullDevice });
    return new QrScreen(auth, { qrLoginId, secret, deviceId: fullDevice.deviceId });
  }

  /** Polls the QR login once. */
  async poll(): Promise<QrLogin> {
    return (await this.auth.getQrLogin(this.credentials)).qrLogin!;
  }

  /** Watches the QR login; `next` takes one answer, undefined at the end of the stream. */
  watch(signal?: AbortSignal): { next(): Promise<QrLogin | undefined> } {
    const answers = this.auth.watchQrLogin(this.credentials, { signal })[Symbol.asyncIterator]();
    return { next: async () => (await answers.next()).value?.qrLogin };
  }
}
