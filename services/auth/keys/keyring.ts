import type { Clock } from "#platform/clock.ts";
import type { AuthConfig } from "../config.ts";
import type { Database } from "../database.ts";
import type { KeyEncryption } from "./key-encryption.ts";
import { type Keys, loadKeys } from "./keys.ts";

/** The shared keys, cached in memory. */
export interface Keyring {
  /**
   * The current keys. Read this property at each use and never keep a copy: a rotation replaces
   * keys.
   */
  readonly keys: Keys;
  /** Calls `listener` after each change of the keys. */
  onChange(listener: () => void | Promise<void>): void;
  /**
   * Reloads the keys, and rotates those that are due. Rejects when the database cannot be reached;
   * the cached keys then stay in use.
   */
  rotate(): Promise<void>;
  /**
   * Reloads the keys when the cache is stale: when another instance rotated a key, or an operator
   * deleted one. Costs one query for the key ids; concurrent callers share it. Rejects as `rotate`
   * does.
   */
  reloadIfChanged(): Promise<void>;
  /** Like `reloadIfChanged`, for callers that have just read the ids of all stored keys. */
  reloadIfStale(storedIds: readonly string[]): Promise<void>;
}

/** Loads the keys, and creates missing ones. Throws as `loadKeys` does. */
export async function createKeyring(options: {
  config: AuthConfig;
  database: Database;
  keyEncryption: KeyEncryption;
  clock: Clock;
}): Promise<Keyring> {
  const listeners: (() => void | Promise<void>)[] = [];
  let keys = await loadKeys(options);
  let checkInFlight: Promise<void> | undefined;
  let rotationInFlight: Promise<void> | undefined;

  async function loadAndNotify(): Promise<void> {
    const loaded = await loadKeys(options);
    if (idsOf(loaded) === idsOf(keys)) return;
    keys = loaded;
    for (const listener of listeners) await listener();
  }
  /** One load at a time: of two concurrent loads, the older result must not overwrite the newer. */
  function rotate(): Promise<void> {
    rotationInFlight ??= loadAndNotify().finally(() => {
      rotationInFlight = undefined;
    });
    return rotationInFlight;
  }
  async function compareWithDatabase(): Promise<void> {
    const stored = await options.database.key.findMany({ select: { keyId: true } });
    await reloadIfStale(stored.map(({ keyId }) => keyId));
  }
  async function reloadIfStale(storedIds: readonly string[]): Promise<void> {
    if (isCached(storedIds)) return;
    // A load in flight may have read the database before the change: check its result, then reload.
    await rotationInFlight;
    if (!isCached(storedIds)) await rotate();
  }
  function isCached(storedIds: readonly string[]): boolean {
    const ids = new Set(storedIds);
    const cached = Object.values(keys).flat();
    return ids.size === cached.length && cached.every(({ keyId }) => ids.has(keyId));
  }
  return {
    get keys() {
      return keys;
    },
    onChange: (listener) => void listeners.push(listener),
    rotate,
    reloadIfChanged() {
      checkInFlight ??= compareWithDatabase().finally(() => {
        checkInFlight = undefined;
      });
      return checkInFlight;
    },
    reloadIfStale,
  };
}

function idsOf(keys: Keys): string {
  return Object.values(keys)
    .flat()
    .map(({ keyId }) => keyId)
    .join(" ");
}
