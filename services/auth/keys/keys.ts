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

interface Times {
  /**
   * From this time on the key signs, encrypts or is issued; before that, it is only published and
   * accepted. Milliseconds since the Unix epoch.
   */
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

/** The keys by purpose, the newest first; at least one for each purpose. */
export interface Keys {
  /** Ed25519, for signing access tokens. */
  access: readonly SharedKey[];
  /** RSA, for decrypting passwords. */
  password: readonly SharedKey[];
  /** AES-256, for encrypting columns. */
  data: readonly SecretKey[];
  /** HMAC-SHA256, for blind indexes. */
  index: readonly SecretKey[];
  /** HMAC-SHA256, for codes and nonces. */
  code: readonly SecretKey[];
  /** AES-256 in FF1, for ids of new users. Never rotated. */
  userId: readonly SecretKey[];
}

/** The newest active key, or the oldest key while none is active. `keys` has the newest first. */
export function activeKey<K extends Times>(keys: readonly K[], nowMs: number): K {
  const key = keys.find(({ activeAtMs }) => activeAtMs <= nowMs) ?? keys.at(-1);
  if (!key) throw new Error("there is no key");
  return key;
}

/** A key's id (a UUID) as 16 bytes: the prefix of every value that was made with the key. */
export const keyIdBytes = (keyId: string): Buffer => Buffer.from(keyId.replaceAll("-", ""), "hex");
export const KEY_ID_BYTES = 16;

/** Advisory lock that serialises rotations across instances. */
const ROTATION_LOCK_ID = 7_265_002;
const ROTATION_TIMEOUT_MS = 60_000;

interface KeyMaterial {
  publicKey: Uint8Array<ArrayBuffer> | null;
  secret: Uint8Array;
}

function exportPair(keys: { publicKey: KeyObject; privateKey: KeyObject }): KeyMaterial {
  return {
    publicKey: new Uint8Array(keys.publicKey.export({ type: "spki", format: "der" })),
    secret: keys.privateKey.export({ type: "pkcs8", format: "der" }),
  };
}

/** Generates a key. A symmetric key has no public half. */
export async function generateKey(
  purpose: Purpose,
  { passwordKeyBits }: { passwordKeyBits: number },
): Promise<KeyMaterial> {
  switch (purpose) {
    case "access":
      return exportPair(await generate("ed25519"));
    case "password":
      return exportPair(await generate("rsa", { modulusLength: passwordKeyBits }));
    case "data":
    case "index":
    case "code":
    case "userId":
      return { publicKey: null, secret: randomBytes(32) };
  }
}

/**
 * Rotates the shared keys if due, then reads them. A rotation creates missing keys and successors,
 * deletes unused keys, and re-encrypts keys that are still encrypted under the previous
 * key-encryption key. It runs under an advisory lock, so instances do not race. Throws when the keys
 * were stored under another key-encryption key.
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
  if (isUpToDate(rows)) return decryptAll(rows, keyEncryption);
  return database.$transaction(
    async (tx) => {
      await tx.$executeRaw`SELECT pg_advisory_xact_lock(${ROTATION_LOCK_ID})`;
      await applyRotation(tx, await read(tx));
      return decryptAll(await read(tx), keyEncryption);
    },
    { timeout: ROTATION_TIMEOUT_MS, maxWait: ROTATION_TIMEOUT_MS },
  );

  function isUpToDate(stored: readonly StoredKey[]): boolean {
    const { create, remove } = scheduleRotation(stored, config, clock.now());
    return create.length === 0 && remove.length === 0 && stored.every(isCurrent);
  }
  function isCurrent({ purpose, keyId, privateKey }: StoredKey): boolean {
    return keyEncryption.isCurrent(privateKey, additionalDataOf(purpose, keyId));
  }
  async function applyRotation(tx: Transaction, stored: readonly StoredKey[]): Promise<void> {
    const { create, remove } = scheduleRotation(stored, config, clock.now());
    await tx.key.deleteMany({ where: { keyId: { in: [...remove] } } });
    for (const row of stored) {
      if (isCurrent(row)) continue;
      const { keyId, purpose } = row;
      const privateKey = keyEncryption.encrypt(
        decryptSecret(row, keyEncryption).secret,
        additionalDataOf(purpose, keyId),
      );
      await tx.key.updateMany({ where: { keyId }, data: { privateKey } });
    }
    for (const { purpose, activeAt } of create) {
      const keyId = randomUUID();
      const { publicKey, secret } = await generateKey(purpose, config);
      const privateKey = keyEncryption.encrypt(secret, additionalDataOf(purpose, keyId));
      const createdAt = new Date(clock.now());
      await tx.key.create({ data: { keyId, purpose, publicKey, privateKey, createdAt, activeAt } });
    }
  }
}

function decryptAll(rows: readonly StoredKey[], keyEncryption: KeyEncryption): Keys {
  const stored = (purpose: Purpose) => rows.filter((row) => row.purpose === purpose);
  const pairs = (purpose: Purpose) => stored(purpose).map((row) => decryptPair(row, keyEncryption));
  const secrets = (purpose: Purpose) =>
    stored(purpose).map((row) => decryptSecret(row, keyEncryption));
  return {
    access: pairs("access"),
    password: pairs("password"),
    data: secrets("data"),
    index: secrets("index"),
    code: secrets("code"),
    userId: secrets("userId"),
  };
}

/** Additional data of AES-GCM: a private key that was copied to another row does not decrypt. */
export const additionalDataOf = (purpose: string, keyId: string) => `auth.key ${purpose} ${keyId}`;

interface StoredKey extends KeyTimes {
  readonly publicKey: Uint8Array | null;
  readonly privateKey: Uint8Array;
}

function decryptPair(row: StoredKey, keyEncryption: KeyEncryption): SharedKey {
  const { keyId, secret, activeAtMs } = decryptSecret(row, keyEncryption);
  const publicKey = Buffer.from(row.publicKey ?? []);
  return {
    keyId,
    activeAtMs,
    publicKey: createPublicKey({ key: publicKey, type: "spki", format: "der" }),
    privateKey: createPrivateKey({ key: secret, type: "pkcs8", format: "der" }),
  };
}

function decryptSecret(row: StoredKey, keyEncryption: KeyEncryption): SecretKey {
  const { keyId, purpose, privateKey, activeAt } = row;
  try {
    const secret = keyEncryption.decrypt(privateKey, additionalDataOf(purpose, keyId));
    return { keyId, secret, activeAtMs: activeAt.getTime() };
  } catch (cause) {
    throw new Error(
      "The private keys in the database were stored under another key-encryption key (LUCKY_AUTH_KEY_ENCRYPTION_KEY). Give auth that one, here or as LUCKY_AUTH_KEY_ENCRYPTION_KEY_BEFORE. Without it the phone numbers and other personal data in the database can no longer be read.",
      { cause },
    );
  }
}
