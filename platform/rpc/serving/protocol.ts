import type { Socket } from "node:net";
import type { Clock } from "#platform/clock.ts";
import { LEAN_PREFACE } from "#platform/rpc/lean/lean-frames.ts";

/** Every HTTP/2 connection without TLS starts with these bytes, and no HTTP/1.1 request does. */
const HTTP2_PREFACE = Buffer.from("PRI * HTTP/2.0\r\n");

/** The protocol of a connection. */
export type Protocol = "http/1.1" | "h2" | "lean";

/** Protocols that begin with a preface. */
const PREFACES: readonly (readonly [Protocol, Buffer])[] = [
  ["h2", HTTP2_PREFACE],
  ["lean", LEAN_PREFACE],
];

interface DetectOptions {
  readonly socket: Socket;
  readonly clock: Clock;
  /** Time-out for the first bytes, ms; then the socket is destroyed. */
  readonly timeoutMs: number;
  /**
   * Called once; not called when the socket ends first. The bytes read so far are returned to the
   * socket, except the preface of a lean link.
   */
  readonly detected: (protocol: Protocol) => void;
}

/** Detects the protocol of a connection from its first bytes. */
export function detectProtocol({ socket, clock, timeoutMs, detected }: DetectOptions): void {
  let seen = Buffer.alloc(0);
  const timer = clock.after(timeoutMs, () => socket.destroy());

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
  function inspect(): void {
    const chunk: Buffer | null = socket.read();
    if (chunk === null) return;
    seen = Buffer.concat([seen, chunk]);
    const possible = PREFACES.filter(([, preface]) => {
      const compared = Math.min(seen.length, preface.length);
      return seen.subarray(0, compared).equals(preface.subarray(0, compared));
    });
    const [first] = possible;
    if (first && seen.length < first[1].length) return;
    stop();
    const protocol = first?.[0] ?? "http/1.1";
    const rest = protocol === "lean" ? seen.subarray(LEAN_PREFACE.length) : seen;
    if (rest.length > 0) socket.unshift(rest);
    detected(protocol);
  }
  socket.on("readable", inspect);
  socket.on("end", drop);
  socket.on("close", stop);
}
