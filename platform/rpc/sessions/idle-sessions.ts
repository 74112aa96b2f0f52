import type { ServerHttp2Session } from "node:http2";
import type { Clock } from "#platform/clock.ts";

/**
 * Closes an HTTP/2 connection that has no request in flight: after a first time-out when it never
 * sent one, and after `idleMs` since its last one. Pings and settings do not prolong it.
 */
export function closeWhenIdle(
  session: ServerHttp2Session,
  options: { readonly clock: Clock; readonly firstRequestMs: number; readonly idleMs: number },
): void {
  const { clock, firstRequestMs, idleMs } = options;
  let timeoutMs = firstRequestMs;
  let idleSince = clock.elapsed();
  let inFlight = 0;
  // One timer of the connection checks the time of the last request, so that calls set no timers.
  let timer = clock.after(timeoutMs, check);

  function check(): void {
    const restMs = inFlight > 0 ? idleMs : idleSince + timeoutMs - clock.elapsed();
    if (restMs > 0) timer = clock.after(restMs, check);
    else session.close();
  }

  session.on("stream", (stream) => {
    timeoutMs = idleMs;
    inFlight += 1;
    stream.once("close", () => {
      inFlight -= 1;
      idleSince = clock.elapsed();
    });
  });
  session.once("close", () => timer.stop());
}
