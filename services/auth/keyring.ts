import type { Clock } from "../../platform/clock.ts";
import type { AuthConfig } from "./config.ts";
import type { Database } from "./database.ts";
import { type Keys, loadKeys } from "./keys.ts";
import type { Sealing } from "./sealing.ts";

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
  turn(): Promise<void>;
  /**
   * Turns when a key was added or taken away elsewhere: by another instance, or by an operator who
   * withdrew it. Costs one look at the keys' ids; who calls meanwhile waits for the same one. Rejects
   * as `turn` does.
   */
  look(): Promise<void>;
}

/** Loads the keys, making those that are missing. Throws as `loadKeys` does. */
export async function createKeyring(options: {
  config: AuthConfig;
  database: Database;
  sealing: Sealing;
  clock: Clock;
}): Promise<Keyring> {
  const listeners: (() => void | Promise<void>)[] = [];
  let keys = await loadKeys(options);
  let looking: Promise<void> | undefined;

  async function turn(): Promise<void> {
    const now = await loadKeys(options);
    if (idsOf(now) === idsOf(keys)) return;
    keys = now;
    for (const listener of listeners) await listener();
  }
  async function look(): Promise<void> {
    const stored = await options.database.key.findMany({ select: { keyId: true } });
    const ids = new Set(stored.map(({ keyId }) => keyId));
    const ours = Object.values(keys).flat();
    if (ids.size !== ours.length || !ours.every(({ keyId }) => ids.has(keyId))) await turn();
  }
  return {
    get keys() {
      return keys;
    },
    onChange: (listener) => void listeners.push(listener),
    turn,
    look() {
      looking ??= look().finally(() => {
        looking = undefined;
      });
      return looking;
    },
  };
}

function idsOf(keys: Keys): string {
  return Object.values(keys)
    .flat()
    .map(({ keyId }) => keyId)
    .join(" ");
}
