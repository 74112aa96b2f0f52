import type { Socket } from "node:net";
import type { Clock } from "#platform/clock.ts";

/** What an instance said to an upgrade; "silent" when it ended, or said nothing in time. */
export type Handshake = "upgraded" | "refused" | "silent";

const UPGRADED = Buffer.from("HTTP/1.1 101 ");

/**
 * Sends an upgrade to an instance and looks at the start of its answer, which stays to be read.
 *
 * Until the instance has agreed, nothing else of the peer may reach it: to whoever refuses an
 * upgrade, what follows is another HTTP request, which nobody here has looked at.
 */
export function performHandshake(options: {
  readonly upstream: Socket;
  /** Of the request, with the empty line that ends it. */
  readonly head: string;
  readonly clock: Clock;
  readonly timeoutMs: number;
}): Promise<Handshake> {
  const { upstream, head, clock, timeoutMs } = options;
  return new Promise((resolve) => {
    let seen = Buffer.alloc(0);

    function finish(handshake: Handshake): void {
      timer.stop();
      upstream.off("readable", look);
      upstream.off("end", leave);
      upstream.off("close", leave);
      resolve(handshake);
    }
    function leave(): void {
      finish("silent");
    }
    function look(): void {
      const chunk: Buffer | null = upstream.read();
      if (chunk === null) return;
      seen = Buffer.concat([seen, chunk]);
      const compared = Math.min(seen.length, UPGRADED.length);
      const matches = seen.subarray(0, compared).equals(UPGRADED.subarray(0, compared));
      if (matches && compared < UPGRADED.length) return;
      upstream.unshift(seen);
      finish(matches ? "upgraded" : "refused");
    }
    const timer = clock.after(timeoutMs, leave);
    upstream.on("readable", look);
    upstream.on("end", leave);
    upstream.on("close", leave);
    upstream.write(head, "latin1");
  });
}
