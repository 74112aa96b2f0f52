import { randomUUID } from "node:crypto";
import { type Client, createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport } from "@connectrpc/connect-node";
import { AuthService, type Device, DeviceClass, type QrLogin } from "#gen/lucky/auth/v1/auth_pb.js";
import type { Reachable } from "./people.ts";

/** How a story's calls travel. */
export type Protocol = "grpc" | "connect";

/** Calls of nobody in particular. */
export function anybody(url: string, protocol: Protocol = "connect"): Client<typeof AuthService> {
  const transport =
    protocol === "grpc"
      ? createGrpcTransport({ baseUrl: url })
      : createConnectTransport({ baseUrl: url, httpVersion: "1.1" });
  return createClient(AuthService, transport);
}

/** A device that shows a QR code and waits to be let in. */
export class Screen {
  readonly auth: Client<typeof AuthService>;
  readonly qrLoginId: string;
  /** What it proves itself with. */
  readonly asking: { qrLoginId: string; secret: string; deviceId: string };

  private constructor(auth: Client<typeof AuthService>, asking: Screen["asking"]) {
    this.auth = auth;
    this.asking = asking;
    this.qrLoginId = asking.qrLoginId;
  }

  static async show(
    world: Reachable,
    device: Partial<Pick<Device, "deviceId" | "deviceClass" | "deviceName">> = {},
    protocol: Protocol = "connect",
  ): Promise<Screen> {
    const auth = anybody(world.url, protocol);
    const whole = { deviceId: randomUUID(), deviceClass: DeviceClass.DESKTOP, ...device };
    const { qrLoginId, secret } = await auth.createQrLogin({ device: whole });
    return new Screen(auth, { qrLoginId, secret, deviceId: whole.deviceId });
  }

  /** Asks once how it goes. */
  async look(): Promise<QrLogin> {
    return (await this.auth.getQrLogin(this.asking)).qrLogin!;
  }

  /** Watches; `next` takes one answer, undefined at the end of the stream. */
  watch(signal?: AbortSignal): { next(): Promise<QrLogin | undefined> } {
    const answers = this.auth.watchQrLogin(this.asking, { signal })[Symbol.asyncIterator]();
    return { next: async () => (await answers.next()).value?.qrLogin };
  }
}
