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
import { type KeyTimes, type Purpose, planKeys } from "./key-plan.ts";
import type { Sealing } from "./sealing.ts";

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

const LOCK = 7_265_002;
const MAKING_MS = 60_000;

interface Fresh {
  publicKey: Uint8Array<ArrayBuffer> | null;
  secret: Uint8Array;
}

function pair(keys: { publicKey: KeyObject; privateKey: KeyObject }): Fresh {
  return {
    publicKey: new Uint8Array(keys.publicKey.export({ type: "spki", format: "der" })),
    secret: keys.privateKey.export({ type: "pkcs8", format: "der" }),
  };
}

/** Makes the two halves of a fresh key; a symmetric one has no public half. */
export async function makeKey(
  purpose: Purpose,
  { passwordKeyBits }: { passwordKeyBits: number },
): Promise<Fresh> {
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
  sealing: Sealing;
  clock: Clock;
}): Promise<Keys> {
  const { config, database, sealing, clock } = options;
  const read = (tx: Transaction) =>
    tx.key.findMany({ orderBy: [{ activeAt: "desc" }, { createdAt: "desc" }] });

  const rows = await read(database);
  if (isSettled(rows)) return open(rows, sealing);
  return database.$transaction(
    async (tx) => {
      await tx.$executeRaw`SELECT pg_advisory_xact_lock(${LOCK})`;
      await settle(tx, await read(tx));
      return open(await read(tx), sealing);
    },
    { timeout: MAKING_MS, maxWait: MAKING_MS },
  );

  function isSettled(stored: readonly StoredKey[]): boolean {
    const { make, remove } = planKeys(stored, config, clock.now());
    return make.length === 0 && remove.length === 0 && stored.every(isCurrent);
  }
  function isCurrent({ purpose, keyId, privateKey }: StoredKey): boolean {
    return sealing.isCurrent(privateKey, about(purpose, keyId));
  }
  async function settle(tx: Transaction, stored: readonly StoredKey[]): Promise<void> {
    const { make, remove } = planKeys(stored, config, clock.now());
    await tx.key.deleteMany({ where: { keyId: { in: [...remove] } } });
    for (const row of stored) {
      if (isCurrent(row)) continue;
      const { keyId, purpose } = row;
      const privateKey = sealing.seal(openSecret(row, sealing).secret, about(purpose, keyId));
      await tx.key.updateMany({ where: { keyId }, data: { privateKey } });
    }
    for (const { purpose, activeAt } of make) {
      const keyId = randomUUID();
      const { publicKey, secret } = await makeKey(purpose, config);
      const privateKey = sealing.seal(secret, about(purpose, keyId));
      const createdAt = new Date(clock.now());
      await tx.key.create({ data: { keyId, purpose, publicKey, privateKey, createdAt, activeAt } });
    }
  }
}

function open(rows: readonly StoredKey[], sealing: Sealing): Keys {
  const of = (purpose: Purpose) => rows.filter((row) => row.purpose === purpose);
  const pairs = (purpose: Purpose) => of(purpose).map((row) => openPair(row, sealing));
  const secrets = (purpose: Purpose) => of(purpose).map((row) => openSecret(row, sealing));
  return {
    access: pairs("access"),
    password: pairs("password"),
    data: secrets("data"),
    index: secrets("index"),
    code: secrets("code"),
  };
}

/** What the private half of a key is sealed about. */
export const about = (purpose: string, keyId: string) => `auth.key ${purpose} ${keyId}`;

interface StoredKey extends KeyTimes {
  readonly publicKey: Uint8Array | null;
  readonly privateKey: Uint8Array;
}

function openPair(row: StoredKey, sealing: Sealing): SharedKey {
  const { keyId, secret, activeAtMs } = openSecret(row, sealing);
  const publicKey = Buffer.from(row.publicKey ?? []);
  return {
    keyId,
    activeAtMs,
    publicKey: createPublicKey({ key: publicKey, type: "spki", format: "der" }),
    privateKey: createPrivateKey({ key: secret, type: "pkcs8", format: "der" }),
  };
}

function openSecret(row: StoredKey, sealing: Sealing): SecretKey {
  const { keyId, purpose, privateKey, activeAt } = row;
  try {
    const secret = sealing.open(privateKey, about(purpose, keyId));
    return { keyId, secret, activeAtMs: activeAt.getTime() };
  } catch (cause) {
    throw new Error(
      "The private keys in the database were stored under another key-encryption key (LUCKY_AUTH_KEY_ENCRYPTION_KEY). Give auth that one, here or as LUCKY_AUTH_KEY_ENCRYPTION_KEY_BEFORE. Without it the phone numbers and other personal data in the database cannot be read any more.",
      { cause },
    );
  }
}
