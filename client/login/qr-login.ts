import type { Client } from "@connectrpc/connect";
import {
  type AuthService,
  type CreateQrLoginResponse,
  type QrLogin,
  QrLoginState,
} from "../../gen/lucky/auth/v1/auth_pb.js";
import { type Clock, pause, systemClock } from "../clock.ts";
import { LuckyError } from "../error.ts";
import { anonymousAuth } from "../rpc/rpc.ts";
import type { DeviceOptions } from "./device.ts";

/** How often a device asks that cannot watch. */
const POLL_INTERVAL_MS = 1_000;

/** Where Lucky is, and which device wants to log in. */
export interface QrLoginOptions {
  /** Address of Lucky, such as "https://chat.example.org". */
  readonly url: string;
  readonly device: DeviceOptions;
  readonly clock?: Clock;
}

/** A QR code to be shown, and what becomes of it. */
export interface ShownQrLogin {
  /** What the code says, for those who draw it themselves. */
  readonly text: string;
  /** The code as an SVG document. */
  readonly svg: string;
  /** Until when it is good, milliseconds since the Unix epoch by the server's clock. */
  readonly expiresAtMs: number;
  /**
   * How it goes: the state at once, then each change; the last one is CONFIRMED with the tokens (give
   * them to `LuckyClient.resume`), REFUSED or EXPIRED. Ends early, without an error, when the signal
   * aborts. Throws a LuckyError: QR_LOGIN_STEP when the tokens were handed out but did not arrive.
   */
  states(signal?: AbortSignal): AsyncGenerator<QrLogin, void>;
}

/** Asks for a login by QR code. Throws a LuckyError. */
export async function beginQrLogin(options: QrLoginOptions): Promise<ShownQrLogin> {
  const { url, clock = systemClock } = options;
  const { deviceId, deviceClass, deviceName = "", clientVersion = "" } = options.device;
  const auth = anonymousAuth(url);
  let made: CreateQrLoginResponse;
  try {
    const device = { deviceId, deviceClass, deviceName, clientVersion };
    made = await auth.createQrLogin({ device });
  } catch (error) {
    throw LuckyError.from(error);
  }
  const { qrLoginId, secret, text, svg } = made;
  return {
    text,
    svg,
    expiresAtMs: Number(made.expiresAtMs),
    states: (signal = new AbortController().signal) =>
      distinctStates(watchOrPoll({ auth, clock, asking: { qrLoginId, secret, deviceId }, signal })),
  };
}

interface QrLoginQuery {
  readonly auth: Client<typeof AuthService>;
  readonly clock: Clock;
  readonly asking: { qrLoginId: string; secret: string; deviceId: string };
  readonly signal: AbortSignal;
}

/** Watches; asks again and again once the stream is refused, or breaks. */
async function* watchOrPoll({
  auth,
  clock,
  asking,
  signal,
}: QrLoginQuery): AsyncGenerator<QrLogin, void> {
  try {
    // Without a deadline: it ends with the time of the QR login.
    for await (const { qrLogin } of auth.watchQrLogin(asking, { signal, timeoutMs: 0 })) {
      if (qrLogin) yield qrLogin;
    }
    return;
  } catch (error) {
    if (signal.aborted) return;
    if (!LuckyError.from(error).retryable) throw LuckyError.from(error);
  }
  for (;;) {
    try {
      const { qrLogin } = await auth.getQrLogin(asking, { signal });
      if (qrLogin) yield qrLogin;
    } catch (error) {
      if (signal.aborted) return;
      if (!LuckyError.from(error).retryable) throw LuckyError.from(error);
    }
    await pause(clock, POLL_INTERVAL_MS, signal);
    if (signal.aborted) return;
  }
}

/** Each state once, up to the last one. */
async function* distinctStates(states: AsyncIterable<QrLogin>): AsyncGenerator<QrLogin, void> {
  let told: QrLoginState | undefined;
  for await (const qrLogin of states) {
    if (qrLogin.state === told) continue;
    told = qrLogin.state;
    yield qrLogin;
    if (told !== QrLoginState.WAITING && told !== QrLoginState.SCANNED) return;
  }
}
