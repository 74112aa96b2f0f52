import { type KeyObject, randomBytes, webcrypto } from "node:crypto";
import { availableParallelism } from "node:os";
import { fromBinary } from "@bufbuild/protobuf";
import { type Algorithm, hash, verify } from "@node-rs/argon2";
import pLimit from "p-limit";
import {
  type EncryptedPassword,
  type PasswordPlaintext,
  PasswordPlaintextSchema,
} from "#gen/lucky/auth/v1/auth_pb.js";
import { ErrorReason } from "#gen/lucky/error/v1/error_pb.js";
import type { Clock } from "#platform/clock.ts";
import { fail } from "#platform/errors.ts";
import type { Metrics } from "#platform/metrics.ts";
import type { AuthConfig } from "../config.ts";
import type { Keyring } from "../keys/keyring.ts";
import type { SharedKey } from "../keys/keys.ts";
import type { Nonces } from "./nonces.ts";

/** Decrypts, hashes and verifies passwords. */
export interface Passwords {
  /**
   * The passwords of one request in NFC, in the order given. Uses up the nonce that they share.
   * Throws ENCRYPTION_INVALID for every fault.
   */
  decrypt<const L extends readonly (EncryptedPassword | undefined)[]>(
    ...encrypted: L
  ): Promise<{ -readonly [I in keyof L]: string }>;
  /** The Argon2id hash in PHC format. Throws OVERLOADED. */
  hash(password: string): Promise<string>;
  /**
   * Whether the password matches the stored hash. Without a stored hash the result is false after
   * the same work, so the duration does not disclose whether the user exists. Throws OVERLOADED.
   */
  verify(stored: string | null | undefined, password: string): Promise<boolean>;
  /** Whether the parameters of the hash differ from the configured ones. */
  needsRehash(stored: string): boolean;
}

const IMPORT_ALGORITHM = { name: "RSA-OAEP", hash: "SHA-256" } as const;
/** Buckets of the duration, seconds. */
const BUCKETS = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];

export async function createPasswords(options: {
  config: Pick<
    AuthConfig,
    | "hashIterations"
    | "hashMemoryKib"
    | "hashParallelism"
    | "maxHashing"
    | "nonceAheadMs"
    | "nonceSeconds"
    | "passwordKeyGraceSeconds"
  >;
  keyring: Pick<Keyring, "keys">;
  nonces: Pick<Nonces, "use">;
  clock: Clock;
  metrics: Metrics;
}): Promise<Passwords> {
  const { config, keyring, nonces, clock } = options;
  const cost = {
    algorithm: 2 satisfies Algorithm.Argon2id,
    memoryCost: config.hashMemoryKib,
    timeCost: config.hashIterations,
    parallelism: config.hashParallelism,
  };
  const head = `$argon2id$v=19$m=${cost.memoryCost},t=${cost.timeCost},p=${cost.parallelism}$`;
  const seconds = options.metrics.histogram(
    "lucky_auth_password_hash_seconds",
    "Time to hash or verify one password, including the wait for a processor.",
    BUCKETS,
    ["work"],
  );
  let inFlight = 0;
  // More hashes at once than processors would only slow each other and the event loop down, and each
  // holds `hashMemoryKib`.
  const limit = pLimit(availableParallelism());

  async function bounded<T>(name: "hash" | "verify", work: () => Promise<T>): Promise<T> {
    if (inFlight >= config.maxHashing)
      throw fail(ErrorReason.OVERLOADED, "too many passwords at once", { retryAfterMs: 1_000 });
    inFlight += 1;
    const done = seconds.startTimer({ work: name });
    try {
      return await limit(work);
    } finally {
      inFlight -= 1;
      done();
    }
  }

  /** Decrypts one password and checks the age of its key and of its timestamp. */
  async function openOne(encrypted: EncryptedPassword | undefined): Promise<PasswordPlaintext> {
    const nowMs = clock.now();
    const key = decryptingKey(keyring.keys.password, encrypted?.keyId ?? "", {
      nowMs,
      graceMs: config.passwordKeyGraceSeconds * 1_000,
    });
    if (!key || !encrypted) throw invalid();
    // WebCrypto decrypts in the thread pool, so the event loop stays free.
    const plain = await webcrypto.subtle
      .decrypt("RSA-OAEP", cryptoKeyOf(key), encrypted.ciphertext)
      .then((bytes) => fromBinary(PasswordPlaintextSchema, new Uint8Array(bytes)))
      .catch((cause) => {
        throw invalid(cause);
      });
    const ageMs = nowMs - Number(plain.encryptedAtMs);
    if (ageMs > config.nonceSeconds * 1_000 || ageMs < -config.nonceAheadMs) throw invalid();
    return plain;
  }

  async function decrypt(...encrypted: (EncryptedPassword | undefined)[]): Promise<string[]> {
    const opened = await Promise.all(encrypted.map(openOne));
    const nonce = opened[0]?.nonce ?? new Uint8Array();
    if (opened.some((one) => Buffer.compare(one.nonce, nonce) !== 0)) throw invalid();
    if (!(await nonces.use(nonce))) throw invalid();
    return opened.map(({ password }) => password.normalize("NFC"));
  }

  const decoyHash = await hash(randomBytes(32), cost);
  return {
    decrypt: (...encrypted) => decrypt(...encrypted) as never,
    hash: (password) => bounded("hash", () => hash(password, cost)),
    async verify(stored, password) {
      const matches = await bounded("verify", () => verify(stored ?? decoyHash, password));
      return matches && typeof stored === "string";
    },
    needsRehash: (stored) => !stored.startsWith(head),
  };
}

/** One error for all faults: it must not disclose which check failed. */
const invalid = (cause?: unknown) =>
  fail(ErrorReason.ENCRYPTION_INVALID, "the password cannot be decrypted", { cause });

const cryptoKeys = new WeakMap<KeyObject, webcrypto.CryptoKey>();

/** The private key as a CryptoKey for WebCrypto. Converted once per key and cached. */
function cryptoKeyOf({ privateKey }: SharedKey): webcrypto.CryptoKey {
  const cached = cryptoKeys.get(privateKey);
  if (cached) return cached;
  const converted = privateKey.toCryptoKey(IMPORT_ALGORITHM, false, ["decrypt"]);
  cryptoKeys.set(privateKey, converted);
  return converted;
}

/**
 * The key with the id; undefined when its replacement is older than the grace period. `keys` is
 * newest first.
 */
export function decryptingKey(
  keys: readonly SharedKey[],
  keyId: string,
  { nowMs, graceMs }: { nowMs: number; graceMs: number },
): SharedKey | undefined {
  const index = keys.findIndex((key) => key.keyId === keyId);
  const replacedAtMs = keys[index - 1]?.activeAtMs ?? Number.POSITIVE_INFINITY;
  return nowMs < replacedAtMs + graceMs ? keys[index] : undefined;
}
