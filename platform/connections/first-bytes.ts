import type { Socket } from "node:net";
import type { Clock } from "#platform/clock.ts";

/** Result of parsing the first bytes of a connection. */
export type FirstBytes<T> =
  | { readonly kind: "incomplete" }
  | { readonly kind: "invalid" }
  | {
      readonly kind: "complete";
      /** Bytes to remove; those after them are returned to the socket. */
      readonly length: number;
      readonly value: T;
    };

export interface FirstBytesOptions<T> {
  /** A connection that has not been read yet. */
  readonly socket: Socket;
  readonly clock: Clock;
  readonly timeoutMs: number;
  /** Called with all bytes so far whenever more arrive, until they are complete or invalid. */
  readonly parse: (bytes: Buffer) => FirstBytes<T>;
  /** Called once; not called when the connection ends first. */
  readonly done: (value: T) => void;
  /** Called before the connection is destroyed because its bytes are invalid or late. */
  readonly refused?: () => void;
}

/**
 * Reads the first bytes of a connection. Destroys the connection when they are invalid or late, and
 * when the client ends it before they are complete.
 */
export function readFirstBytes<T>(options: FirstBytesOptions<T>): void {
  const { socket, clock, timeoutMs, parse, done, refused } = options;
  let seen = Buffer.alloc(0);
  const timer = clock.after(timeoutMs, refuse);

  function stop(): void {
    timer.stop();
    socket.off("readable", inspect);
    socket.off("end", drop);
    socket.off("close", stop);
  }
  function drop(): void {
    stop();
    socket.destroy();
  }
  function refuse(): void {
    refused?.();
    drop();
  }
  function inspect(): void {
    const chunk: Buffer | null = socket.read();
    if (chunk === null) return;
    seen = Buffer.concat([seen, chunk]);
    const parsed = parse(seen);
    if (parsed.kind === "incomplete") return;
    if (parsed.kind === "invalid") {
      refuse();
      return;
    }
    stop();
    const rest = seen.subarray(parsed.length);
    if (rest.length > 0) socket.unshift(rest);
    done(parsed.value);
  }
  socket.on("readable", inspect);
  socket.on("end", drop);
  socket.on("close", stop);
}
