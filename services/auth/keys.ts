import {
  createPrivateKey,
  createPublicKey,
  generateKeyPair,
  type KeyObject,
  randomUUID,
} from "node:crypto";
import { promisify } from "node:util";
import type { Clock } from "../../platform/clock.ts";
import type { Database, Transaction } from "./database.ts";
import type { Sealing } from "./sealing.ts";

const generate = promisify(generateKeyPair);

/** A key that all instances of auth share. */
export interface SharedKey {
  keyId: string;
  publicKey: KeyObject;
  privateKey: KeyObject;
}

/** The keys, the newest first; there is at least one of each. */
export interface Keys {
  /** Ed25519: sign access tokens. */
  access: readonly SharedKey[];
  /** RSA: decrypt passwords. */
  password: readonly SharedKey[];
}

type Purpose = keyof Keys;

const LOCK = 7_265_002;
const MAKING_MS = 60_000;

/**
 * Reads the shared keys and makes those that are missing, under a lock, so that instances that
 * start together agree. Throws when the key-encryption key is not the one they were stored with.
 */
export async function loadKeys(options: {
  database: Database;
  sealing: Sealing;
  passwordKeyBits: number;
  clock: Clock;
}): Promise<Keys> {
  const { database, sealing, clock } = options;
  const make: Record<Purpose, () => Promise<{ publicKey: KeyObject; privateKey: KeyObject }>> = {
    access: () => generate("ed25519"),
    password: () => generate("rsa", { modulusLength: options.passwordKeyBits }),
  };

  async function ofPurpose(tx: Transaction, purpose: Purpose): Promise<SharedKey[]> {
    const rows = await tx.key.findMany({ where: { purpose }, orderBy: { createdAt: "desc" } });
    if (rows.length > 0) return rows.map((row) => opened(row, sealing));
    const key = { keyId: randomUUID(), ...(await make[purpose]()) };
    const secret = key.privateKey.export({ type: "pkcs8", format: "der" });
    await tx.key.create({
      data: {
        keyId: key.keyId,
        purpose,
        publicKey: new Uint8Array(key.publicKey.export({ type: "spki", format: "der" })),
        privateKey: sealing.seal(secret, about(purpose, key.keyId)),
        createdAt: new Date(clock.now()),
      },
    });
    return [key];
  }

  return database.$transaction(
    async (tx) => {
      await tx.$executeRaw`SELECT pg_advisory_xact_lock(${LOCK})`;
      return { access: await ofPurpose(tx, "access"), password: await ofPurpose(tx, "password") };
    },
    { timeout: MAKING_MS, maxWait: MAKING_MS },
  );
}

const about = (purpose: string, keyId: string) => `auth.key ${purpose} ${keyId}`;

interface StoredKey {
  keyId: string;
  purpose: string;
  publicKey: Uint8Array;
  privateKey: Uint8Array;
}

function opened(row: StoredKey, sealing: Sealing): SharedKey {
  let secret: Buffer;
  try {
    secret = sealing.open(row.privateKey, about(row.purpose, row.keyId));
  } catch (cause) {
    throw new Error(
      "The private keys in the database were stored under another key-encryption key (LUCKY_AUTH_KEY_ENCRYPTION_KEY). Give auth that one. Deleting the rows of auth.key makes new keys and ends nothing but access tokens.",
      { cause },
    );
  }
  return {
    keyId: row.keyId,
    publicKey: createPublicKey({ key: Buffer.from(row.publicKey), type: "spki", format: "der" }),
    privateKey: createPrivateKey({ key: secret, type: "pkcs8", format: "der" }),
  };
}
