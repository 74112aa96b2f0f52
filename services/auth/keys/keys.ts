import {
  createPrivateKey,
  createPublicKey,
  generateKeyPair,
  type KeyObject,
  randomBytes,
  randomUUID,
} from "node:crypto";
import { promisify } from "node:util";
import type { Clock } from "#platform/clock.ts";
import type { AuthConfig } from "../config.ts";
import type { Database, Transaction } from "../database.ts";
import type { KeyEncryption } from "./key-encryption.ts";
import { type KeyTimes, type Purpose, scheduleRotation } from "./rotation-schedule.ts";

const generate = promisify(generateKeyPair);

/** When a key is used. Milliseconds since the Unix epoch. */
interface Times {
  /** From then on it signs, seals or is handed out; before, it is only published and accepted. */
  activeAtMs: number;
}

/** A key pair that all instances of auth share. */
export interface SharedKey extends Times {
  keyId: string;
  publicKey: KeyObject;
  privateKey: KeyObject;
}

/** A symmetric key that all instances of auth share. */
export interface SecretKey extends Times {
  keyId: string;
  /** 32 bytes. */
  secret: Buffer;
}

/** The keys, the newest first; there is at least one of each. */
export interface Keys {
  /** Ed25519: sign access tokens. */
  access: readonly SharedKey[];
  /** RSA: decrypt passwords. */
  password: readonly SharedKey[];
  /** AES-256: seal columns. */
  data: readonly SecretKey[];
  /** HMAC-SHA256: blind indexes. */
  index: readonly SecretKey[];
  /** HMAC-SHA256: codes and nonces. */
  code: readonly SecretKey[];
}

/** The newest key that is active; the oldest while none is. `keys` is the newest first. */
export function activeKey<K extends Times>(keys: readonly K[], nowMs: number): K {
  const key = keys.find(({ activeAtMs }) => activeAtMs <= nowMs) ?? keys.at(-1);
  if (!key) throw new Error("there is no key");
  return key;
}

/** The id of a key in 16 bytes, as it stands in front of what was made with it: ids are UUIDs. */
export const keyIdBytes = (keyId: string): Buffer => Buffer.from(keyId.replaceAll("-", ""), "hex");
export const KEY_ID_BYTES = 16;

const ROTATION_LOCK_ID = 7_265_002;
const ROTATION_TIMEOUT_MS = 60_000;

interface KeyMaterial {
  publicKey: Uint8Array<ArrayBuffer> | null;
  secret: Uint8Array;
}

function pair(keys: { publicKey: KeyObject; privateKey: KeyObject }): KeyMaterial {
  return {
    publicKey: new Uint8Array(keys.publicKey.export({ type: "spki", format: "der" })),
    secret: keys.privateKey.export({ type: "pkcs8", format: "der" }),
  };
}

/** Makes the two halves of a fresh key; a symmetric one has no public half. */
export async function generateKey(
  purpose: Purpose,
  { passwordKeyBits }: { passwordKeyBits: number },
): Promise<KeyMaterial> {
  switch (purpose) {
    case "access":
      return pair(await generate("ed25519"));
    case "password":
      return pair(await generate("rsa", { modulusLength: passwordKeyBits }));
    case "data":
    case "index":
    case "code":
      return { publicKey: null, secret: randomBytes(32) };
  }
}

/**
 * Reads the shared keys; does what is due first: makes those that are missing and successors,
 * deletes what nothing needs any more, seals under the key-encryption key what lies under the one
 * before. That happens under a lock, so that instances agree. Throws when the key-encryption key is
 * not the one they were stored with.
 */
export async function loadKeys(options: {
  config: AuthConfig;
  database: Database;
  keyEncryption: KeyEncryption;
  clock: Clock;
}): Promise<Keys> {
  const { config, database, keyEncryption, clock } = options;
  const read = (tx: Transaction) =>
    tx.key.findMany({ orderBy: [{ activeAt: "desc" }, { createdAt: "desc" }] });

  const rows = await read(database);
  if (isSettled(rows)) return open(rows, keyEncryption);
  return database.$transaction(
    async (tx) => {
      await tx.$executeRaw`SELECT pg_advisory_xact_lock(${ROTATION_LOCK_ID})`;
      await settle(tx, await read(tx));
      return open(await read(tx), keyEncryption);
    },
    { timeout: ROTATION_TIMEOUT_MS, maxWait: ROTATION_TIMEOUT_MS },
  );

  function isSettled(stored: readonly StoredKey[]): boolean {
    const { create: make, remove } = scheduleRotation(stored, config, clock.now());
    return make.length === 0 && remove.length === 0 && stored.every(isCurrent);
  }
  function isCurrent({ purpose, keyId, privateKey }: StoredKey): boolean {
    return keyEncryption.isCurrent(privateKey, additionalDataOf(purpose, keyId));
  }
  async function settle(tx: Transaction, stored: readonly StoredKey[]): Promise<void> {
    const { create: make, remove } = scheduleRotation(stored, config, clock.now());
    await tx.key.deleteMany({ where: { keyId: { in: [...remove] } } });
    for (const row of stored) {
      if (isCurrent(row)) continue;
      const { keyId, purpose } = row;
      const privateKey = keyEncryption.encrypt(
        openSecret(row, keyEncryption).secret,
        additionalDataOf(purpose, keyId),
      );
      await tx.key.updateMany({ where: { keyId }, data: { privateKey } });
    }
    for (const { purpose, activeAt } of make) {
      const keyId = randomUUID();
      const { publicKey, secret } = await generateKey(purpose, config);
      const privateKey = keyEncryption.encrypt(secret, additionalDataOf(purpose, keyId));
      const createdAt = new Date(clock.now());
      await tx.key.create({ data: { keyId, purpose, publicKey, privateKey, createdAt, activeAt } });
    }
  }
}

function open(rows: readonly StoredKey[], keyEncryption: KeyEncryption): Keys {
  const of = (purpose: Purpose) => rows.filter((row) => row.purpose === purpose);
  const pairs = (purpose: Purpose) => of(purpose).map((row) => openPair(row, keyEncryption));
  const secrets = (purpose: Purpose) => of(purpose).map((row) => openSecret(row, keyEncryption));
  return {
    access: pairs("access"),
    password: pairs("password"),
    data: secrets("data"),
    index: secrets("index"),
    code: secrets("code"),
  };
}

/** What the private half of a key is sealed about. */
export const additionalDataOf = (purpose: string, keyId: string) => `auth.key ${purpose} ${keyId}`;

interface StoredKey extends KeyTimes {
  readonly publicKey: Uint8Array | null;
  readonly privateKey: Uint8Array;
}

function openPair(row: StoredKey, keyEncryption: KeyEncryption): SharedKey {
  const { keyId, secret, activeAtMs } = openSecret(row, keyEncryption);
  const publicKey = Buffer.from(row.publicKey ?? []);
  return {
    keyId,
    activeAtMs,
    publicKey: createPublicKey({ key: publicKey, type: "spki", format: "der" }),
    privateKey: createPrivateKey({ key: secret, type: "pkcs8", format: "der" }),
  };
}

function openSecret(row: StoredKey, keyEncryption: KeyEncryption): SecretKey {
  const { keyId, purpose, privateKey, activeAt } = row;
  try {
    const secret = keyEncryption.decrypt(privateKey, additionalDataOf(purpose, keyId));
    return { keyId, secret, activeAtMs: activeAt.getTime() };
  } catch (cause) {
    throw new Error(
      "The private keys in the database were stored under another key-encryption key (LUCKY_AUTH_KEY_ENCRYPTION_KEY). Give auth that one, here or as LUCKY_AUTH_KEY_ENCRYPTION_KEY_BEFORE. Without it the phone numbers and other personal data in the database cannot be read any more.",
      { cause },
    );
  }
}
