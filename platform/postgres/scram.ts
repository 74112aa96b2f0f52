import { createHash, createHmac, pbkdf2Sync, randomBytes } from "node:crypto";

const ITERATIONS = 4_096;

/**
 * The verifier that PostgreSQL stores for a password (RFC 5803, SCRAM-SHA-256). A statement that sets
 * it contains no password, which the log of the database could show. The password must be printable
 * ASCII: other characters would need SASLprep.
 */
export function scramVerifier(password: string): string {
  if (!/^[\x20-\x7e]+$/.test(password))
    throw new Error("a password of a database user must consist of printable ASCII characters");
  const salt = randomBytes(16);
  const salted = pbkdf2Sync(password, salt, ITERATIONS, 32, "sha256");
  const keyOf = (name: string) => createHmac("sha256", salted).update(name).digest();
  const storedKey = createHash("sha256").update(keyOf("Client Key")).digest("base64");
  const serverKey = keyOf("Server Key").toString("base64");
  return `SCRAM-SHA-256$${ITERATIONS}:${salt.toString("base64")}$${storedKey}:${serverKey}`;
}
