import { create, toBinary } from "@bufbuild/protobuf";
import {
  type GetPublicKeyResponse,
  PasswordPlaintextSchema,
} from "../../gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "../../gen/lucky/error/v1/error_pb.js";
import { LuckyError } from "../error.ts";

/** The fields of an EncryptedPassword. */
export interface SealedPassword {
  readonly keyId: string;
  readonly ciphertext: Uint8Array;
}

const ALGORITHM = { name: "RSA-OAEP", hash: "SHA-256" };
/** Overhead of OAEP with SHA-256, in bytes of the key: 2 × 32 + 2 (RFC 8017, 7.1.1). */
const PADDING_BYTES = 66;

/**
 * Encrypts a password for transport: RSA-OAEP with SHA-256 over a PasswordPlaintext with the nonce
 * and the time of the GetPublicKey response. Valid for one request, for two minutes; all passwords
 * of one request use the same response. Throws INVALID_ARGUMENT when the password is too long for
 * the key.
 */
export async function sealPassword(
  key: GetPublicKeyResponse,
  password: string,
): Promise<SealedPassword> {
  const spki = new Uint8Array(key.spki);
  const imported = await crypto.subtle.importKey("spki", spki, ALGORITHM, false, ["encrypt"]);
  const { modulusLength } = imported.algorithm as RsaHashedKeyAlgorithm;
  const plain = toBinary(
    PasswordPlaintextSchema,
    create(PasswordPlaintextSchema, {
      nonce: key.nonce,
      encryptedAtMs: key.serverTimeMs,
      password,
    }),
  );
  if (plain.length > modulusLength / 8 - PADDING_BYTES)
    throw new LuckyError(ErrorReason.INVALID_ARGUMENT, "the password is too long");
  const ciphertext = await crypto.subtle.encrypt(ALGORITHM.name, imported, plain);
  return { keyId: key.keyId, ciphertext: new Uint8Array(ciphertext) };
}
