import type { Socket } from "node:net";
import type { Clock } from "#platform/clock.ts";
import { type FirstBytes, readFirstBytes } from "#platform/connections/first-bytes.ts";
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
export function detectProtocol({ detected, ...options }: DetectOptions): void {
  readFirstBytes({ ...options, parse: protocolOf, done: detected });
}

function protocolOf(bytes: Buffer): FirstBytes<Protocol> {
  const possible = PREFACES.find(([, preface]) => {
    const compared = Math.min(bytes.length, preface.length);
    return bytes.subarray(0, compared).equals(preface.subarray(0, compared));
  });
  if (possible === undefined) return { kind: "complete", length: 0, value: "http/1.1" };
  const [value, preface] = possible;
  if (bytes.length < preface.length) return { kind: "incomplete" };
  return { kind: "complete", length: value === "lean" ? preface.length : 0, value };
}
