import type { Socket } from "node:net";
import type { Clock } from "../clock.ts";

/** Every HTTP/2 connection without TLS starts with this, and no HTTP/1.1 request does. */
const preface = Buffer.from("PRI * HTTP/2.0\r\n");

interface DetectOptions {
  readonly socket: Socket;
  readonly clock: Clock;
  /** How long the first bytes may take; then the socket is destroyed. */
  readonly timeoutMs: number;
  /** Called once, with the bytes that were looked at put back; not called when the socket ended. */
  readonly detected: (protocol: "http/1.1" | "h2") => void;
}

/** Tells by the first bytes of a connection which HTTP it speaks. */
export function detectProtocol({ socket, clock, timeoutMs, detected }: DetectOptions): void {
  let seen = Buffer.alloc(0);
  const timer = clock.after(timeoutMs, () => socket.destroy());

  function stop(): void {
    timer.stop();
    socket.off("readable", look);
    socket.off("end", leave);
    socket.off("close", stop);
  }
  function leave(): void {
    stop();
    socket.destroy();
  }
  function look(): void {
    const chunk: Buffer | null = socket.read();
    if (chunk === null) return;
    seen = Buffer.concat([seen, chunk]);
    const compared = Math.min(seen.length, preface.length);
    const matches = seen.subarray(0, compared).equals(preface.subarray(0, compared));
    if (matches && compared < preface.length) return;
    stop();
    socket.unshift(seen);
    detected(matches ? "h2" : "http/1.1");
  }
  socket.on("readable", look);
  socket.on("end", leave);
  socket.on("close", stop);
}
