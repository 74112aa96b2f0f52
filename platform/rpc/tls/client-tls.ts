import { Socket } from "node:net";
import { createServer, type SecureContextOptions, type TLSSocket } from "node:tls";
import type { ServedCertificate } from "#platform/certificates/served-certificate.ts";
import type { Clock } from "#platform/clock.ts";

/** First byte of every TLS connection: its first record is a handshake (RFC 8446, section 5.1). */
export const TLS_FIRST_BYTE = 0x16;

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
  /** Connections in their handshake, by `peerOf`, and what follows it. */
  const handshakes = new Map<string, (decrypted: TLSSocket) => void>();
  // The server gets its connections from `secure` and never listens itself.
  const server = createServer({ ...contextOf(certificate), ALPNProtocols: ["h2", "http/1.1"] });
  certificate.onRenewed(() => server.setSecureContext(contextOf(certificate)));
  server.on("secureConnection", (decrypted) => {
    const follow = handshakes.get(peerOf(decrypted));
    if (follow === undefined) decrypted.destroy();
    else follow(decrypted);
  });
  return {
    secure(socket, secured) {
      const address = socket.remoteAddress;
      const peer = peerOf(socket);
      const timer = clock.after(handshakeMs, () => socket.destroy());
      const end = () => {
        timer.stop();
        handshakes.delete(peer);
        socket.off("close", giveUp);
      };
      const giveUp = () => {
        end();
        failed(address);
      };
      handshakes.set(peer, (decrypted) => {
        end();
        // The socket may have the address of the client from the PROXY protocol.
        Object.defineProperty(decrypted, "remoteAddress", { value: address });
        secured(decrypted);
      });
      socket.once("close", giveUp);
      server.emit("connection", socket);
    },
  };
}

/** Address and port of the peer of a connection, even when a proxy has sent another address. */
function peerOf(socket: Socket): string {
  return `${Reflect.get(Socket.prototype, "remoteAddress", socket)} ${socket.remotePort}`;
}

function contextOf(certificate: ServedCertificate): SecureContextOptions {
  const { cert, key } = certificate.current();
  return { cert, key, minVersion: "TLSv1.2", honorCipherOrder: true };
}
