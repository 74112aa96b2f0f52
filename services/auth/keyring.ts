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
  return {
    get keys() {
      return keys;
    },
    onChange: (listener) => void listeners.push(listener),
    async turn() {
      const now = await loadKeys(options);
      if (idsOf(now) === idsOf(keys)) return;
      keys = now;
      for (const listener of listeners) await listener();
    },
  };
}

function idsOf(keys: Keys): string {
  return Object.values(keys)
    .flat()
    .map(({ keyId }) => keyId)
    .join(" ");
}
