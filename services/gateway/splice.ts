import type { Socket } from "node:net";
import { type Duplex, pipeline } from "node:stream";
import type { Clock } from "#platform/clock.ts";

const LINGER_MS = 1_000;

/**
 * Splices two connections: bytes pass in both directions, with back-pressure. The end of one
 * direction is passed on, and the other direction stays open; an error destroys both connections.
 * `first` holds bytes of the device that were read along with its request.
 */
export function splice(device: Duplex, upstream: Socket, first: Buffer): void {
  if (first.length > 0) upstream.write(first);
  let openDirections = 2;
  const ended = (error: Error | null | undefined): void => {
    openDirections -= 1;
    if (error || openDirections === 0) {
      device.destroy();
      upstream.destroy();
    }
  };
  pipeline(device, upstream, ended);
  pipeline(upstream, device, ended);
}

/**
 * Passes the answer of an instance that refused the upgrade to the device, and then closes both.
 */
export function passRefusal(device: Duplex, upstream: Socket, clock: Clock): void {
  device.once("close", () => upstream.destroy());
  pipeline(upstream, device, () => {});
  linger(device, clock);
}

/**
 * Closes the connection after a second, so that the peer can read the answer: a close with unread
 * bytes in the receive buffer resets the connection, which discards the answer.
 */
export function linger(device: Duplex, clock: Clock): void {
  device.resume();
  const timer = clock.after(LINGER_MS, () => device.destroy());
  device.once("close", () => timer.stop());
}
