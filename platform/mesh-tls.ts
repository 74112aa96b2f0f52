import { readFileSync } from "node:fs";
import type { TcpNetConnectOpts } from "node:net";
import { connect, createSecureContext, type TLSSocket, type TlsOptions } from "node:tls";

/** Paths of files in PEM. */
export interface MeshTlsFiles {
  /** Certificate of the service, with the intermediate ones. It names the service: DNS name "auth". */
  readonly certFile: string;
  /** Private key of the certificate. */
  readonly keyFile: string;
  /** Certificates of the authorities that sign the certificates of all our services. */
  readonly caFile: string;
}

/** TLS between our services, with certificates on both sides. */
export interface MeshTls {
  /** The files, for a listener that reads them itself. */
  readonly files: MeshTlsFiles;
  /** Options of a listener that admits only callers with a certificate of the authority. */
  readonly serverOptions: TlsOptions;
  /**
   * Connects to an instance of a service. Its certificate must name the service. Bytes that are
   * written before "secureConnect" wait until that is verified.
   */
  connect(
    service: string,
    options: TcpNetConnectOpts & { readonly ALPNProtocols?: string[] },
  ): TLSSocket;
}

/** Both sides are ours, so no older version is needed. The environment cannot disable the checks. */
const PROTOCOL = { minVersion: "TLSv1.3", rejectUnauthorized: true } as const;

/**
 * Reads the files, once: a renewed certificate needs a restart. Throws an error for operators when
 * a file cannot be read or the key does not belong to the certificate.
 */
export function loadMeshTls(files: MeshTlsFiles): MeshTls {
  const credentials = {
    cert: readPem(files.certFile),
    key: readPem(files.keyFile),
    ca: readPem(files.caFile),
  };
  try {
    createSecureContext(credentials);
  } catch (cause) {
    const text = `The certificate ${files.certFile}, its key ${files.keyFile} or ${files.caFile} is not valid`;
    throw new Error(`${text}: ${(cause as Error).message}`, { cause });
  }
  return {
    files,
    serverOptions: {
      ...credentials,
      ...PROTOCOL,
      ALPNProtocols: ["h2", "http/1.1"],
      requestCert: true,
    },
    connect(service, options) {
      const socket = connect({ ...options, ...credentials, ...PROTOCOL, servername: service });
      // OpenSSL would send waiting bytes, such as the secret of a link, before Node has verified the
      // certificate.
      socket.cork();
      socket.once("connect", () => socket.setNoDelay(true));
      socket.once("error", markUnsent);
      socket.once("secureConnect", () => {
        socket.off("error", markUnsent);
        socket.uncork();
      });
      return socket;
    },
  };
}

/** A failed handshake is a failed connect: no call was sent, so a retry elsewhere is safe. */
function markUnsent(error: Error): void {
  Object.assign(error, { syscall: "connect" });
}

function readPem(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new Error(`The TLS file ${path} cannot be read: ${(cause as Error).message}`, { cause });
  }
}
