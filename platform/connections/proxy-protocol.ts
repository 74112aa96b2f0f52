import type { Socket } from "node:net";
import type { Clock } from "#platform/clock.ts";
import { canonicalAddress } from "#platform/network.ts";
import { type FirstBytes, readFirstBytes } from "./first-bytes.ts";

/** Every header of the PROXY protocol, version 2, begins with these bytes. */
const SIGNATURE = Buffer.from("\r\n\r\n\0\r\nQUIT\n", "latin1");
/** Signature, version and command, family and transport, length of the rest. */
const FIXED_BYTES = 16;
/**
 * Maximum bytes of a header. Two IPv6 addresses with their ports take 36; the rest is for extensions,
 * which are ignored.
 */
const MAX_BYTES = 2_048;
/** Time-out for the header, ms: a proxy sends it first, without waiting for the client. */
const TIMEOUT_MS = 5_000;

const VERSION = 2;
const LOCAL = 0;
const PROXY = 1;
/** Family and transport: TCP over IPv4, and TCP over IPv6. */
const TCP4 = 0x11;
const TCP6 = 0x21;
/** Bytes of both addresses and ports. */
const TCP4_BYTES = 12;
const TCP6_BYTES = 36;

/**
 * A parsed header. Its value is the address of the client; undefined when the proxy speaks for
 * itself, as in a health check.
 */
export type ProxyHeader = FirstBytes<string | undefined>;

const INCOMPLETE = { kind: "incomplete" } as const;
const INVALID = { kind: "invalid" } as const;

/**
 * Parses a header of the PROXY protocol, version 2
 * (https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt, section 2.2). Other transports than
 * TCP over IPv4 or IPv6 are invalid: they have no address that limits could count by.
 */
export function parseProxyHeader(bytes: Buffer): ProxyHeader {
  const compared = Math.min(bytes.length, SIGNATURE.length);
  if (!bytes.subarray(0, compared).equals(SIGNATURE.subarray(0, compared))) return INVALID;
  if (bytes.length < FIXED_BYTES) return INCOMPLETE;
  const version = bytes[12]! >> 4;
  const command = bytes[12]! & 0x0f;
  const length = FIXED_BYTES + bytes.readUInt16BE(14);
  if (version !== VERSION || command > PROXY || length > MAX_BYTES) return INVALID;
  if (bytes.length < length) return INCOMPLETE;
  if (command === LOCAL) return { kind: "complete", length, value: undefined };
  const rest = length - FIXED_BYTES;
  const family = bytes[13]!;
  if (family === TCP4 && rest >= TCP4_BYTES) {
    return { kind: "complete", length, value: bytes.subarray(16, 20).join(".") };
  }
  if (family === TCP6 && rest >= TCP6_BYTES) {
    const groups = Array.from({ length: 8 }, (_, at) =>
      bytes.readUInt16BE(16 + 2 * at).toString(16),
    );
    return { kind: "complete", length, value: canonicalAddress(groups.join(":")) };
  }
  return INVALID;
}

/**
 * Reads the header from a connection that has not been read yet, and returns the bytes after it to
 * the socket. Calls `done` once with the address of the client, or destroys the connection when the
 * header is invalid or late.
 */
export function readProxyHeader(options: {
  readonly socket: Socket;
  readonly clock: Clock;
  readonly done: (client: string | undefined) => void;
  /** Called before a connection is destroyed because of its header. */
  readonly refused: () => void;
}): void {
  readFirstBytes({ ...options, timeoutMs: TIMEOUT_MS, parse: parseProxyHeader });
}
