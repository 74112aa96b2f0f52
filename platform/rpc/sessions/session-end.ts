import type { ServerHttp2Session } from "node:http2";
import type { Socket } from "node:net";
import type { Clock } from "#platform/clock.ts";

/** Time-out for the peer to read what was sent, and to close its half, ms. */
const CLOSE_TIMEOUT_MS = 2_000;

/**
 * Makes `session.destroy` safe. The original one, called while a read is processed, aborts the whole
 * process at the next data of a request: https://github.com/nodejs/node/issues/64850. Node itself
 * calls it for a GOAWAY frame with an error, which any client can send. Here the session closes, so
 * that it refuses new requests, and its connection is destroyed after the read; that ends the session.
 * The connection also ends when the peer does not read or does not close its half.
 */
export function makeDestroySafe(
  session: ServerHttp2Session,
  { socket, clock }: { readonly socket: Socket; readonly clock: Clock },
): void {
  let ending = false;
  session.destroy = () => {
    if (ending || session.destroyed) return;
    ending = true;
    session.close();
    setImmediate(() => {
      socket.destroySoon();
      const timer = clock.after(CLOSE_TIMEOUT_MS, () => socket.destroy());
      if (socket.closed) timer.stop();
      else socket.once("close", () => timer.stop());
    });
  };
}
