import { type KeyObject, randomBytes, webcrypto } from "node:crypto";
import { fromBinary } from "@bufbuild/protobuf";
import { type Algorithm, hash, verify } from "@node-rs/argon2";
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

/** Decrypts, judges, hashes and verifies passwords. */
export interface Passwords {
  /**
   * The passwords of one request as typed, in NFC and in order; uses their nonce up. Throws
   * ENCRYPTION_INVALID, whatever is wrong with one of them.
   */
  decrypt<const L extends readonly (EncryptedPassword | undefined)[]>(
    ...encrypted: L
  ): Promise<{ -readonly [I in keyof L]: string }>;
  /** Argon2id in PHC format. Throws OVERLOADED. */
  hash(password: string): Promise<string>;
  /**
   * Whether the password belongs to the hash. Without a hash, of a user who does not exist, it
   * costs the same and is false. Throws OVERLOADED.
   */
  verify(stored: string | null | undefined, password: string): Promise<boolean>;
  /** Whether the hash was made with other parameters than the configured ones. */
  needsRehash(stored: string): boolean;
}

const importing = { name: "RSA-OAEP", hash: "SHA-256" } as const;
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
    "Time to hash or verify one password, waiting included.",
    BUCKETS,
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

  /** What is inside, when its key and its time are good. */
  async function openOne(encrypted: EncryptedPassword | undefined): Promise<PasswordPlaintext> {
    const nowMs = clock.now();
    const key = decryptingKey(keyring.keys.password, encrypted?.keyId ?? "", {
      nowMs,
      graceMs: config.passwordKeyGraceSeconds * 1_000,
    });
    if (!key || !encrypted) throw invalid();
    // Decrypting in the thread pool keeps the event loop free.
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

  const nobody = await hash(randomBytes(32), cost);
  return {
    decrypt: (...encrypted) => decrypt(...encrypted) as never,
    hash: (password) => bounded("hash", () => hash(password, cost)),
    async verify(stored, password) {
      const matches = await bounded("verify", () => verify(stored ?? nobody, password));
      return matches && typeof stored === "string";
    },
    needsRehash: (stored) => !stored.startsWith(head),
  };
}

/** Nobody learns which of the many things was wrong. */
const invalid = (cause?: unknown) =>
  fail(ErrorReason.ENCRYPTION_INVALID, "the password cannot be decrypted", { cause });

const cryptoKeys = new WeakMap<KeyObject, webcrypto.CryptoKey>();

/** The key as the asynchronous interface takes it. */
function cryptoKeyOf({ privateKey }: SharedKey): webcrypto.CryptoKey {
  const known = cryptoKeys.get(privateKey);
  if (known) return known;
  const made = privateKey.toCryptoKey(importing, false, ["decrypt"]);
  cryptoKeys.set(privateKey, made);
  return made;
}

/** The named key, unless it was replaced longer than the grace ago. `keys` is the newest first. */
export function decryptingKey(
  keys: readonly SharedKey[],
  keyId: string,
  { nowMs, graceMs }: { nowMs: number; graceMs: number },
): SharedKey | undefined {
  const place = keys.findIndex((key) => key.keyId === keyId);
  const replacedAtMs = keys[place - 1]?.activeAtMs ?? Number.POSITIVE_INFINITY;
  return nowMs < replacedAtMs + graceMs ? keys[place] : undefined;
}
