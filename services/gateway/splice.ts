import type { Socket } from "node:net";
import { type Duplex, pipeline } from "node:stream";
import type { Clock, Timer } from "#platform/clock.ts";

const LINGER_MS = 1_000;

/** Listeners that a spliced connection may have: two pipelines add a dozen. Node warns beyond it. */
const MAX_LISTENERS = 20;

/** Time-out for the second side of a tunnel to end after the first one, ms. */
const HALF_CLOSED_MS = 5_000;

/**
 * Time-out for a side that reads nothing while bytes wait for it, ms; the default after which connect
 * closes slow sockets. The gateway does not read on meanwhile, so it cannot see the other side's end.
 */
const STALLED_MS = 60_000;

/**
 * Splices two connections: bytes pass in both directions, with back-pressure. The end of one
 * direction is passed on, and the other direction stays open for `HALF_CLOSED_MS`. An error, or a
 * side that does not read for `STALLED_MS`, destroys both connections; bytes that wait are lost.
 */
export function splice(options: {
  readonly device: Duplex;
  readonly upstream: Socket;
  /** Bytes of the device that were read along with its request. */
  readonly first: Buffer;
  readonly clock: Clock;
}): void {
  const { device, upstream, first, clock } = options;
  function destroy(): void {
    device.destroy();
    upstream.destroy();
  }
  let openDirections = 2;
  const ended = (error: Error | null | undefined): void => {
    openDirections -= 1;
    if (error || openDirections === 0) destroy();
  };
  if (first.length > 0) upstream.write(first);
  for (const source of [device, upstream]) {
    source.setMaxListeners(MAX_LISTENERS);
    boundWaits(source, destroy, clock);
  }
  pipeline(device, upstream, ended);
  pipeline(upstream, device, ended);
}

/** Calls `expired` when a source has ended, or is paused by back-pressure, for too long. */
function boundWaits(source: Duplex, expired: () => void, clock: Clock): void {
  let timer: Timer | undefined;
  function wait(delayMs: number): void {
    timer?.stop();
    timer = clock.after(delayMs, expired);
  }
  source.once("end", () => wait(HALF_CLOSED_MS));
  // A source that has ended is paused, too, when the pipeline lets go of it.
  source.on("pause", () => {
    if (!source.readableEnded && !source.destroyed) wait(STALLED_MS);
  });
  source.on("resume", () => {
    if (!source.readableEnded) timer?.stop();
  });
  source.once("close", () => timer?.stop());
}

/**
 * Passes the answer of an instance that refused the upgrade to the device, and then closes both.
 */
export function passRefusal(device: Duplex, upstream: Socket, clock: Clock): void {
  // It also destroys the upstream when the device closes.
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
