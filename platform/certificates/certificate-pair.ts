import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createSecureContext } from "node:tls";

/** Paths of files in PEM. */
export interface CertificateFiles {
  /** The certificate, followed by the intermediate ones. */
  readonly certFile: string;
  /** Private key of the certificate, without a password. */
  readonly keyFile: string;
}

/** A certificate and its key. */
export interface CertificatePair {
  /** The contents of the two files. */
  readonly cert: string;
  readonly key: string;
  /** End of validity of the certificate, milliseconds since the Unix epoch. */
  readonly notAfterMs: number;
}

/**
 * Reads a pair. Throws an error for operators when a file cannot be read, the key does not belong to
 * the certificate, or the certificate is not valid at the time `nowMs`.
 */
export async function readCertificatePair(
  { certFile, keyFile }: CertificateFiles,
  nowMs: number,
): Promise<CertificatePair> {
  const [cert, key] = await Promise.all([readPem(certFile), readPem(keyFile)]);
  const certificate = parsed(certFile, () => new X509Certificate(cert));
  const privateKey = parsed(keyFile, () => createPrivateKey(key));
  if (!certificate.checkPrivateKey(privateKey)) {
    throw new Error(`The key ${keyFile} does not belong to the certificate ${certFile}.`);
  }
  // Also checks the intermediate certificates and the strength of the key.
  parsed(certFile, () => createSecureContext({ cert, key }));
  const { validFrom, validTo } = certificate;
  const notAfterMs = Date.parse(validTo);
  if (nowMs > notAfterMs) throw new Error(`The certificate ${certFile} expired on ${validTo}.`);
  if (nowMs < Date.parse(validFrom)) {
    throw new Error(`The certificate ${certFile} is not valid before ${validFrom}.`);
  }
  return { cert, key, notAfterMs };
}

async function readPem(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    throw new Error(`The TLS file ${path} cannot be read: ${(cause as Error).message}`, { cause });
  }
}

function parsed<T>(path: string, parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    throw new Error(`The TLS file ${path} is not valid: ${(cause as Error).message}`, { cause });
  }
}
