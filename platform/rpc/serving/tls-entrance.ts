import type { Socket } from "node:net";
import type { ServedCertificate } from "#platform/certificates/served-certificate.ts";
import type { Clock } from "#platform/clock.ts";
import type { ConnectionBounds } from "#platform/connections/connection-bounds.ts";
import { readFirstBytes } from "#platform/connections/first-bytes.ts";
import { clientTls, TLS_FIRST_BYTE } from "#platform/rpc/tls/client-tls.ts";
import { answerPlainText } from "#platform/rpc/tls/plain-text.ts";
import type { Admission } from "./admission.ts";
import { detectProtocol } from "./protocol.ts";

/**
 * Passes the connections of a port through, as its clients see them: decrypted with a certificate,
 * else as they are. With a certificate, a connection in plain text gets an answer that says so.
 */
export function tlsEntrance(options: {
  readonly certificate: ServedCertificate | undefined;
  readonly admission: Admission;
  readonly bounds: ConnectionBounds | undefined;
  readonly clock: Clock;
  /** Time-out for the first byte, and then for the handshake, ms. */
  readonly timeoutMs: number;
}): (socket: Socket, passed: (socket: Socket) => void) => void {
  const { certificate, admission, bounds, clock, timeoutMs } = options;
  if (certificate === undefined) return (socket, passed) => passed(socket);
  const tls = clientTls({
    certificate,
    clock,
    handshakeMs: timeoutMs,
    failed: (address) => bounds?.refused("tls-handshake", address),
  });

  function refusePlainText(socket: Socket): void {
    bounds?.refused("plain-text", socket.remoteAddress);
    detectProtocol({
      socket,
      clock,
      timeoutMs,
      detected(protocol) {
        if (protocol === "lean") socket.destroy();
        else answerPlainText(socket, protocol, clock);
      },
    });
  }

  return (socket, passed) => {
    readFirstBytes({
      socket,
      clock,
      timeoutMs,
      parse: ([first]) => ({ kind: "complete", length: 0, value: first === TLS_FIRST_BYTE }),
      done(isTls) {
        if (isTls) admission.handshake(socket, () => tls.secure(socket, passed));
        else refusePlainText(socket);
      },
    });
  };
}
