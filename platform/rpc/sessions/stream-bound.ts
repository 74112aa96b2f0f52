import type { ServerHttp2Session } from "node:http2";
import type { Clock } from "#platform/clock.ts";

const WINDOW_MS = 1_000;

/**
 * Destroys an HTTP/2 connection with more than `most` requests that are open or that were reset
 * within a second. The limits of nghttp2 end a connection only after the bytes that were read with
 * the excess: they can contain a thousand requests.
 */
export function boundStreams(
  session: ServerHttp2Session,
  options: {
    readonly most: number;
    readonly clock: Clock;
    /** Called once, when the connection is destroyed. */
    readonly exceeded: () => void;
  },
): void {
  const { most, clock, exceeded } = options;
  let open = 0;
  let resets = 0;
  let reported = false;
  let endsAt = Number.NEGATIVE_INFINITY;

  // Before the listener that makes a request of the stream.
  session.prependListener("stream", (stream) => {
    const now = clock.elapsed();
    if (now >= endsAt) {
      resets = 0;
      endsAt = now + WINDOW_MS;
    }
    open += 1;
    stream.once("close", () => {
      open -= 1;
      if (stream.aborted) resets += 1;
    });
    if (open + resets <= most || reported) return;
    reported = true;
    // The limits of nghttp2 may have closed the session before its first event.
    if (!session.closed) session.destroy();
    exceeded();
  });
}
