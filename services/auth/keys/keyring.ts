import type { Clock } from "#platform/clock.ts";
import type { AuthConfig } from "../config.ts";
import type { Database } from "../database.ts";
import type { KeyEncryption } from "./key-encryption.ts";
import { type Keys, loadKeys } from "./keys.ts";

/** The shared keys as they are now. */
export interface Keyring {
  /** Ask each time, never keep: keys come and go. */
  readonly keys: Keys;
  /** Calls `listener` after each change of the keys. */
  onChange(listener: () => void | Promise<void>): void;
  /**
   * Reads the keys anew, and gives those that are due their successors. Rejects when the database
   * cannot be reached; then the keys stay as they were.
   */
  rotate(): Promise<void>;
  /**
   * Turns when a key was added or taken away elsewhere: by another instance, or by an operator who
   * withdrew it. Costs one look at the keys' ids; who calls meanwhile waits for the same one. Rejects
   * as `turn` does.
   */
  reloadIfChanged(): Promise<void>;
  /** The same, for one who has just read the ids of all stored keys. */
  reloadIfStale(storedIds: readonly string[]): Promise<void>;
}

/** Loads the keys, making those that are missing. Throws as `loadKeys` does. */
export async function createKeyring(options: {
  config: AuthConfig;
  database: Database;
  keyEncryption: KeyEncryption;
  clock: Clock;
}): Promise<Keyring> {
  const listeners: (() => void | Promise<void>)[] = [];
  let keys = await loadKeys(options);
  let looking: Promise<void> | undefined;
  let turning: Promise<void> | undefined;

  async function reload(): Promise<void> {
    const now = await loadKeys(options);
    if (idsOf(now) === idsOf(keys)) return;
    keys = now;
    for (const listener of listeners) await listener();
  }
  /** One at a time: of two that overlap, the older one must not have the last word. */
  function turn(): Promise<void> {
    turning ??= reload().finally(() => {
      turning = undefined;
    });
    return turning;
  }
  async function look(): Promise<void> {
    const stored = await options.database.key.findMany({ select: { keyId: true } });
    await compare(stored.map(({ keyId }) => keyId));
  }
  async function compare(storedIds: readonly string[]): Promise<void> {
    if (holds(storedIds)) return;
    // The one on its way may have begun before the change.
    await turning;
    if (!holds(storedIds)) await turn();
  }
  function holds(storedIds: readonly string[]): boolean {
    const ids = new Set(storedIds);
    const ours = Object.values(keys).flat();
    return ids.size === ours.length && ours.every(({ keyId }) => ids.has(keyId));
  }
  return {
    get keys() {
      return keys;
    },
    onChange: (listener) => void listeners.push(listener),
    rotate: turn,
    reloadIfChanged() {
      looking ??= look().finally(() => {
        looking = undefined;
      });
      return looking;
    },
    reloadIfStale: compare,
  };
}

function idsOf(keys: Keys): string {
  return Object.values(keys)
    .flat()
    .map(({ keyId }) => keyId)
    .join(" ");
}
