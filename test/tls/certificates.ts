import { generateKeyPair } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { isIP } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import forge from "node-forge";
import type { MeshTlsFiles } from "#platform/mesh-tls.ts";
import type { Teardown } from "../backends/teardown.ts";

const DAY_MS = 86_400_000;

/** An authority that signs certificates for services. */
export interface TestAuthority {
  /**
   * Writes a certificate with the DNS names and addresses, and its key. Returns the paths with the
   * authority's.
   */
  issue(...names: string[]): Promise<MeshTlsFiles>;
}

/** Creates an authority. Its files are deleted at teardown. */
export async function testAuthority(t: Teardown): Promise<TestAuthority> {
  const folder = await mkdtemp(join(tmpdir(), "lucky-tls-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const keys = await createKeys();
  const issuer = [{ name: "commonName", value: "An authority of tests" }];
  const ca = certificateOf(keys.publicKey, { issuer, subject: issuer, serial: 1 });
  ca.setExtensions([{ name: "basicConstraints", cA: true, critical: true }]);
  ca.sign(keys.privateKey, forge.md.sha256.create());
  const caFile = join(folder, "ca.pem");
  await writeFile(caFile, forge.pki.certificateToPem(ca));
  let issued = 1;

  return {
    async issue(...names) {
      issued += 1;
      const own = await createKeys();
      const subject = [{ name: "commonName", value: names[0]! }];
      const certificate = certificateOf(own.publicKey, { issuer, subject, serial: issued });
      // Type 2: a DNS name; type 7: an address.
      const altNames = names.map((value) =>
        isIP(value) ? { type: 7, ip: value } : { type: 2, value },
      );
      certificate.setExtensions([{ name: "subjectAltName", altNames }]);
      certificate.sign(keys.privateKey, forge.md.sha256.create());
      const certFile = join(folder, `${issued}.pem`);
      const keyFile = join(folder, `${issued}.key`);
      await writeFile(certFile, forge.pki.certificateToPem(certificate));
      await writeFile(keyFile, forge.pki.privateKeyToPem(own.privateKey), { mode: 0o600 });
      return { certFile, keyFile, caFile };
    },
  };
}

/** A certificate that is valid from yesterday until tomorrow, not signed yet. */
function certificateOf(
  publicKey: forge.pki.PublicKey,
  options: {
    issuer: forge.pki.CertificateField[];
    subject: forge.pki.CertificateField[];
    serial: number;
  },
): forge.pki.Certificate {
  const certificate = forge.pki.createCertificate();
  certificate.publicKey = publicKey;
  certificate.serialNumber = options.serial.toString(16).padStart(2, "0");
  certificate.validity.notBefore = new Date(Date.now() - DAY_MS);
  certificate.validity.notAfter = new Date(Date.now() + DAY_MS);
  certificate.setSubject(options.subject);
  certificate.setIssuer(options.issuer);
  return certificate;
}

/** RSA keys: the library signs with no others. */
async function createKeys(): Promise<forge.pki.rsa.KeyPair> {
  const { publicKey, privateKey } = await promisify(generateKeyPair)("rsa", {
    modulusLength: 2_048,
    publicKeyEncoding: { type: "spki", format: "pem" },
    privateKeyEncoding: { type: "pkcs8", format: "pem" },
  });
  return {
    publicKey: forge.pki.publicKeyFromPem(publicKey),
    privateKey: forge.pki.privateKeyFromPem(privateKey),
  };
}
