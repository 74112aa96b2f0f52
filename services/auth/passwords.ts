import { randomBytes, webcrypto } from "node:crypto";
import { type Algorithm, hash, verify } from "@node-rs/argon2";
import type { EncryptedPassword } from "../../gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "../../gen/lucky/error/v1/error_pb.js";
import { fail } from "../../platform/errors.ts";
import type { Metrics } from "../../platform/metrics.ts";
import type { AuthConfig } from "./config.ts";
import type { SharedKey } from "./keys.ts";
import { nameKey } from "./names.ts";

/** Decrypts, judges, hashes and verifies passwords. */
export interface Passwords {
  /** The password as typed, in NFC. Throws ENCRYPTION_INVALID, whatever is wrong with it. */
  decrypt(encrypted: EncryptedPassword | undefined): Promise<string>;
  /** Argon2id in PHC format. Throws OVERLOADED. */
  hash(password: string): Promise<string>;
  /**
   * Whether the password belongs to the hash. Without a hash, of a user who does not exist, it
   * costs the same and is false. Throws OVERLOADED.
   */
  verify(stored: string | undefined, password: string): Promise<boolean>;
}

const decoder = new TextDecoder("utf-8", { fatal: true });
const importing = { name: "RSA-OAEP", hash: "SHA-256" } as const;
const buckets = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];

export async function createPasswords(options: {
  config: AuthConfig;
  keys: readonly SharedKey[];
  metrics: Metrics;
}): Promise<Passwords> {
  const { config } = options;
  // Decrypting in the thread pool keeps the event loop free.
  const decrypting = new Map<string, webcrypto.CryptoKey>();
  for (const { keyId, privateKey } of options.keys) {
    const der = privateKey.export({ type: "pkcs8", format: "der" });
    const key = await webcrypto.subtle.importKey("pkcs8", der, importing, false, ["decrypt"]);
    decrypting.set(keyId, key);
  }
  const cost = {
    algorithm: 2 satisfies Algorithm.Argon2id,
    memoryCost: config.hashMemoryKib,
    timeCost: config.hashIterations,
    parallelism: 1,
  };
  const seconds = options.metrics.histogram(
    "lucky_auth_password_hash_seconds",
    "Time to hash or verify one password, waiting included.",
    buckets,
    ["work"],
  );
  let working = 0;

  async function bounded<T>(name: "hash" | "verify", work: () => Promise<T>): Promise<T> {
    if (working >= config.maxHashing)
      throw fail(ErrorReason.OVERLOADED, "too many passwords at once", { retryAfterMs: 1_000 });
    working += 1;
    const done = seconds.startTimer({ work: name });
    try {
      return await work();
    } finally {
      working -= 1;
      done();
    }
  }

  const nobody = await hash(randomBytes(32), cost);
  return {
    async decrypt(encrypted) {
      const invalid = (cause?: unknown) =>
        fail(ErrorReason.ENCRYPTION_INVALID, "the password cannot be decrypted", { cause });
      const key = decrypting.get(encrypted?.keyId ?? "");
      if (!key || !encrypted) throw invalid();
      try {
        const plain = await webcrypto.subtle.decrypt("RSA-OAEP", key, encrypted.ciphertext);
        return decoder.decode(plain).normalize("NFC");
      } catch (cause) {
        throw invalid(cause);
      }
    },
    hash: (password) => bounded("hash", () => hash(password, cost)),
    async verify(stored, password) {
      const matches = await bounded("verify", () => verify(stored ?? nobody, password));
      return matches && stored !== undefined;
    },
  };
}

const MIN_LENGTH = 8;
const MAX_LENGTH = 128;
const common = new Set(
  "12345678 123456789 1234567890 87654321 password password1 passw0rd qwertyui qwerty123 qwertyuiop 1q2w3e4r 1qaz2wsx abcd1234 abc12345 11223344 iloveyou sunshine princess football baseball superman trustno1 letmein1 welcome1 admin123 administrator changeme".split(
    " ",
  ),
);

/** Throws PASSWORD_WEAK unless the password is worth hashing. */
export function requireStrong(password: string, userName: string): void {
  const weak = (text: string) => fail(ErrorReason.PASSWORD_WEAK, text);
  const characters = [...password];
  if (characters.length < MIN_LENGTH || characters.length > MAX_LENGTH)
    throw weak(`a password has ${MIN_LENGTH} to ${MAX_LENGTH} characters`);
  if (new Set(characters).size < 3) throw weak("the password repeats too few characters");
  if (nameKey(password) === nameKey(userName)) throw weak("the password is the user name");
  if (common.has(password.toLowerCase())) throw weak("the password is too common");
}
