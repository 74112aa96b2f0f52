import type { GetPublicKeyResponse } from "../gen/lucky/auth/v1/auth_pb.js";

/** The fields of an EncryptedPassword. */
export interface SealedPassword {
  readonly keyId: string;
  readonly ciphertext: Uint8Array;
}

/** Encrypts a password for the way: RSA-OAEP with SHA-256 over its UTF-8 bytes. */
export async function sealPassword(
  key: GetPublicKeyResponse,
  password: string,
): Promise<SealedPassword> {
  const algorithm = { name: "RSA-OAEP", hash: "SHA-256" };
  const spki = new Uint8Array(key.spki);
  const imported = await crypto.subtle.importKey("spki", spki, algorithm, false, ["encrypt"]);
  const plain = new TextEncoder().encode(password);
  const ciphertext = await crypto.subtle.encrypt({ name: "RSA-OAEP" }, imported, plain);
  return { keyId: key.keyId, ciphertext: new Uint8Array(ciphertext) };
}
