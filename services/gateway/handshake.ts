import type { Socket } from "node:net";
import type { Clock } from "#platform/clock.ts";

/**
 * The answer of an instance to an upgrade: "unavailable" when it is full or stops, so that another one
 * may accept; "no-answer" when it ended the connection or timed out.
 */
export type Handshake = "upgraded" | "unavailable" | "refused" | "no-answer";

/** Length of the start of an answer up to its status, such as "HTTP/1.1 101 ", bytes. */
const STATUS_END = 13;
const ANSWERS: ReadonlyMap<string, Handshake> = new Map([
  ["HTTP/1.1 101 ", "upgraded"],
  ["HTTP/1.1 503 ", "unavailable"],
]);

/**
 * Sends an upgrade to an instance and inspects the start of its answer, which is unshifted: a later
 * reader of the socket gets the whole answer.
 *
 * Until the instance has answered 101, no other byte of the peer may reach it: an instance that
 * refuses the upgrade would read those bytes as another HTTP request, which the gateway has not
 * checked.
 */
export function performHandshake(options: {
  readonly upstream: Socket;
  /** Head of the request, with the empty line that ends it. */
  readonly head: string;
  readonly clock: Clock;
  readonly timeoutMs: number;
}): Promise<Handshake> {
  const { upstream, head, clock, timeoutMs } = options;
  return new Promise((resolve) => {
    let seen = Buffer.alloc(0);

    function finish(handshake: Handshake): void {
      timer.stop();
      upstream.off("readable", readAnswer);
      upstream.off("end", giveUp);
      upstream.off("close", giveUp);
      resolve(handshake);
    }
    function giveUp(): void {
      finish("no-answer");
    }
    function readAnswer(): void {
      const chunk: Buffer | null = upstream.read();
      if (chunk === null) return;
      seen = Buffer.concat([seen, chunk]);
      const start = seen.toString("latin1", 0, STATUS_END);
      if (start.length < STATUS_END && [...ANSWERS.keys()].some((one) => one.startsWith(start)))
        return;
      upstream.unshift(seen);
      finish(ANSWERS.get(start) ?? "refused");
    }
    const timer = clock.after(timeoutMs, giveUp);
    upstream.on("readable", readAnswer);
    upstream.on("end", giveUp);
    upstream.on("close", giveUp);
    upstream.write(head, "latin1");
  });
}
