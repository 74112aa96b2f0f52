import type { Ids } from "#platform/ids.ts";
import type { Database } from "../database.ts";
import { createIdPermutation, type IdPermutation } from "./id-permutation.ts";
import type { Keyring } from "./keyring.ts";

/** Source of ids for new users. */
export interface UserIds {
  /**
   * A positive 63-bit integer that no account has. Ids reveal neither order nor time, and cannot be
   * guessed from others. Throws UNAVAILABLE as `Ids` does.
   */
  next(): Promise<bigint>;
}

/**
 * Creates a source of user ids: snowflakes, permuted under a key that all instances share. So the ids
 * of all instances differ from each other. Ids of accounts that are older than the key are plain
 * snowflakes, so an id that exists is skipped.
 */
export function createUserIds({
  database,
  ids,
  keyring,
}: {
  database: Database;
  ids: Pick<Ids, "next">;
  keyring: Pick<Keyring, "keys">;
}): UserIds {
  let current: { keyId: string; permutation: IdPermutation } | undefined;

  /** The permutation of the oldest key. There is one key, unless an operator added another. */
  function permutation(): IdPermutation {
    const key = keyring.keys.userId.at(-1)!;
    if (current?.keyId !== key.keyId)
      current = { keyId: key.keyId, permutation: createIdPermutation(key.secret) };
    return current.permutation;
  }
  return {
    async next() {
      for (;;) {
        const userId = permutation().apply(BigInt(ids.next()));
        const taken = await database.account.findUnique({
          where: { userId },
          select: { userId: true },
        });
        if (!taken) return userId;
      }
    },
  };
}
