import { createPrivateKey } from "node:crypto";
import { type JWTPayload, SignJWT } from "jose";
import type pg from "pg";
import { createKeyEncryption } from "../../services/auth/keys/key-encryption.ts";
import { additionalDataOf } from "../../services/auth/keys/keys.ts";

/** Signs any claims with the system's own key; only auth should be able to do so. */
export type Sign = (claims: JWTPayload) => Promise<string>;

/** Reads the newest signing key from the database and opens it with the key-encryption key. */
export async function signerOf(pool: pg.Pool, keyEncryptionKey: string): Promise<Sign> {
  const { rows } = await pool.query(
    "SELECT key_id, private_key FROM auth.key WHERE purpose = 'access' ORDER BY active_at DESC",
  );
  const { key_id: kid, private_key: sealed } = rows[0];
  const der = createKeyEncryption(keyEncryptionKey).decrypt(
    sealed,
    additionalDataOf("access", kid),
  );
  const key = createPrivateKey({ key: der, type: "pkcs8", format: "der" });
  return (claims) =>
    new SignJWT(claims).setProtectedHeader({ alg: "EdDSA", kid, typ: "JWT" }).sign(key);
}
