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

/** Polling interval of a device whose watch stream failed, ms. */
const POLL_INTERVAL_MS = 1_000;

/** Address of the server and the device that logs in. */
export interface QrLoginOptions {
  /** Address of Lucky, such as "https://chat.example.org". */
  readonly url: string;
  readonly device: DeviceOptions;
  readonly clock?: Clock;
}

/** A QR code to show, and the progress of its login. */
export interface ShownQrLogin {
  /** Text of the code, for callers that draw it themselves. */
  readonly text: string;
  /** The code as an SVG document. */
  readonly svg: string;
  /** Expiry of the code, milliseconds since the Unix epoch by the server's clock. */
  readonly expiresAtMs: number;
  /**
   * The current state, then each change. The last one is CONFIRMED with the tokens (pass them to
   * `LuckyClient.resume`), REFUSED or EXPIRED. Ends early, without an error, when the signal
   * aborts. Throws a LuckyError: QR_LOGIN_STEP when the server sent the tokens but they did not
   * arrive.
   */
  states(signal?: AbortSignal): AsyncGenerator<QrLogin, void>;
}

/** Starts a login by QR code. Throws a LuckyError. */
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

/**
 * Watches the login; polls it once the stream is refused or breaks. A retryable error does not end
 * it.
 */
async function* watchOrPoll({
  auth,
  clock,
  asking,
  signal,
}: QrLoginQuery): AsyncGenerator<QrLogin, void> {
  try {
    // No deadline: the stream ends when the QR login expires.
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

/** Deduplicates states, and ends after the last one. */
async function* distinctStates(states: AsyncIterable<QrLogin>): AsyncGenerator<QrLogin, void> {
  let last: QrLoginState | undefined;
  for await (const qrLogin of states) {
    if (qrLogin.state === last) continue;
    last = qrLogin.state;
    yield qrLogin;
    if (last !== QrLoginState.WAITING && last !== QrLoginState.SCANNED) return;
  }
}
