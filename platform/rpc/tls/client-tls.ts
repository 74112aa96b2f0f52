import type { Socket } from "node:net";
import { createSecureContext, type SecureContext, TLSSocket } from "node:tls";
import type { ServedCertificate } from "#platform/certificates/served-certificate.ts";
import type { Clock } from "#platform/clock.ts";

/** First byte of every TLS connection: its first record is a handshake (RFC 8446, section 5.1). */
export const TLS_FIRST_BYTE = 0x16;

const OPTIONS = { minVersion: "TLSv1.2", honorCipherOrder: true } as const;
const ALPN_PROTOCOLS = ["h2", "http/1.1"];

export interface ClientTlsOptions {
  readonly certificate: ServedCertificate;
  readonly clock: Clock;
  /** Time-out of a handshake, ms. */
  readonly handshakeMs: number;
  /** Called for each handshake that fails, with the address of the client. */
  readonly failed: (address: string | undefined) => void;
}

/** TLS of a port for clients. */
export interface ClientTls {
  /**
   * Does the handshake on a connection whose bytes are still unread, and calls `secured` with the
   * decrypted connection. Destroys the connection when the handshake fails or is late.
   */
  secure(socket: Socket, secured: (socket: TLSSocket) => void): void;
}

/** A renewed certificate applies to new connections; open ones keep their keys. */
export function clientTls(options: ClientTlsOptions): ClientTls {
  const { certificate, clock, handshakeMs, failed } = options;
  let context = contextOf(certificate);
  certificate.onRenewed(() => {
    context = contextOf(certificate);
  });
  return {
    secure(socket, secured) {
      const address = socket.remoteAddress;
      const secureContext = context;
      const decrypted = new TLSSocket(socket, {
        isServer: true,
        secureContext,
        ALPNProtocols: ALPN_PROTOCOLS,
      });
      // The socket may have the address of the client from the PROXY protocol.
      Object.defineProperty(decrypted, "remoteAddress", { value: address });
      const timer = clock.after(handshakeMs, () => decrypted.destroy());
      const giveUp = () => {
        timer.stop();
        failed(address);
      };
      decrypted.once("close", giveUp);
      decrypted.once("secure", () => {
        timer.stop();
        decrypted.off("close", giveUp);
        // As tls.Server does: node:http2 would wait for the handshake of a client.
        Object.assign(decrypted, { secureConnecting: false });
        secured(decrypted);
      });
    },
  };
}

function contextOf(certificate: ServedCertificate): SecureContext {
  const { cert, key } = certificate.current();
  return createSecureContext({ ...OPTIONS, cert, key });
}
