import type { Socket } from "node:net";
import type { Clock } from "#platform/clock.ts";
import { LEAN_PREFACE } from "#platform/rpc/lean/lean-frames.ts";

/** Every HTTP/2 connection without TLS starts with this, and no HTTP/1.1 request does. */
const HTTP2_PREFACE = Buffer.from("PRI * HTTP/2.0\r\n");

/** What a connection speaks. */
export type Protocol = "http/1.1" | "h2" | "lean";

/** Protocols that begin in a way of their own. */
const prefaces: readonly (readonly [Protocol, Buffer])[] = [
  ["h2", HTTP2_PREFACE],
  ["lean", LEAN_PREFACE],
];

interface DetectOptions {
  readonly socket: Socket;
  readonly clock: Clock;
  /** How long the first bytes may take; then the socket is destroyed. */
  readonly timeoutMs: number;
  /** Called once, with the bytes that were looked at put back, but for the preface of a lean link; not called when the socket ended. */
  readonly detected: (protocol: Protocol) => void;
}

/** Tells by the first bytes of a connection which protocol it speaks. */
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
    const possible = prefaces.filter(([, preface]) => {
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
  socket.on("readable", look);
  socket.on("end", leave);
  socket.on("close", stop);
}
