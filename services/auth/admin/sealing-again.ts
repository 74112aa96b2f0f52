import type { Account, Prisma } from "#gen/prisma/client.ts";
import { cellOf, ENCRYPTED_COLUMNS } from "../accounts/shown-profile.ts";
import type { AuthDependencies } from "../dependencies.ts";
import { activeKey, KEY_ID_BYTES, keyIdBytes, type SecretKey } from "../keys/keys.ts";

type Dependencies = Pick<
  AuthDependencies,
  "clock" | "columns" | "config" | "database" | "keyring" | "log"
>;

/** How far the clocks of instances may be apart. */
const CLOCK_ROOM_MS = 60_000;

/**
 * Seals what lies under older data and index keys again under the active ones: at most
 * sealAgainRows rows a step, not counting those in front that do not open. Returns how many it
 * found; 0: nothing is left under older keys, and they are retired. On several instances at once it
 * does no harm: a row is changed only where it is still as it was read.
 */
export async function sealAgain(d: Dependencies): Promise<number> {
  const { clock, config, database, keyring } = d;
  const now = clock.now();
  const data = activeKey(keyring.keys.data, now);
  const index = activeKey(keyring.keys.index, now);
  const older = [...olderThan(keyring.keys.data, data), ...olderThan(keyring.keys.index, index)];
  const waiting = await database.key.findMany({
    where: { keyId: { in: older.map(({ keyId }) => keyId) }, retiredAt: null },
    select: { keyId: true, purpose: true },
  });
  // Most of the time: it costs one look-up by key.
  if (waiting.length === 0) return 0;

  let found = 0;
  let failures = 0;
  let left: Account[] = [];
  do {
    left = await rowsUnderOthers(d, { data, index }, left.at(-1)?.userId ?? 0n);
    for (const account of left) if (!(await sealRow(d, account, index))) failures++;
    found += left.length;
    // Behind rows that do not open there may be others that do.
  } while (left.length > 0 && failures === found);
  if (failures > 0) d.log.error({ event: "seal_again_failed", failures });
  if (found > 0) return found;

  // An instance that has not read the keys anew, or whose clock is late, still uses an older one.
  const settledMs = config.keyRefreshSeconds * 1_000 + CLOCK_ROOM_MS;
  for (const { keyId, purpose } of waiting) {
    const { activeAtMs } = purpose === "data" ? data : index;
    if (activeAtMs + settledMs > now) continue;
    if (purpose === "index" && (await codesUnder(d, keyId))) continue;
    const retired = await database.key.updateMany({
      where: { keyId, retiredAt: null },
      data: { retiredAt: new Date(now) },
    });
    if (retired.count > 0) d.log.info({ event: "key_retired", keyId, purpose });
  }
  return 0;
}

/** Keys are the newest first; those before the active one wait for their time. */
function olderThan(keys: readonly SecretKey[], active: SecretKey): readonly SecretKey[] {
  return keys.slice(keys.indexOf(active) + 1);
}

/** Accounts of which something lies under another key than the active one, behind an account. */
async function rowsUnderOthers(
  { config, database }: Dependencies,
  active: { data: SecretKey; index: SecretKey },
  afterUserId: bigint,
): Promise<Account[]> {
  const data = keyIdBytes(active.data.keyId);
  const index = keyIdBytes(active.index.keyId);
  // Each begins with the id of its key; what is null is not unequal.
  const found = await database.$queryRaw<{ id: string }[]>`
    SELECT user_id::text AS id FROM auth.account
    WHERE user_id > ${afterUserId} AND (
      substring(phone FROM 1 FOR 16) <> ${data}
      OR substring(birthday FROM 1 FOR 16) <> ${data}
      OR substring(location FROM 1 FOR 16) <> ${data}
      OR substring(add_answer FROM 1 FOR 16) <> ${data}
      OR substring(phone_index FROM 1 FOR 16) <> ${index})
    ORDER BY user_id LIMIT ${config.sealAgainRows}`;
  const userId = { in: found.map(({ id }) => BigInt(id)) };
  return found.length === 0
    ? []
    : database.account.findMany({ where: { userId }, orderBy: { userId: "asc" } });
}

/** False when a value does not open, or its index belongs to another account by now. */
async function sealRow(
  { columns, database, log }: Dependencies,
  account: Account,
  index: SecretKey,
): Promise<boolean> {
  const { userId, phone, phoneIndex } = account;
  const before: Prisma.AccountWhereInput = {};
  const after: Prisma.AccountUpdateManyMutationInput = {};
  try {
    for (const column of ENCRYPTED_COLUMNS) {
      const sealed = account[column];
      if (sealed === null || columns.isCurrent(sealed)) continue;
      const place = cellOf(column, userId);
      before[column] = sealed;
      after[column] = columns.encrypt(columns.decrypt(sealed, place), place);
    }
    if (
      phone &&
      phoneIndex &&
      !keyIdBytes(index.keyId).equals(phoneIndex.subarray(0, KEY_ID_BYTES))
    ) {
      before.phone = phone;
      after.phoneIndex = columns.blindIndex(
        columns.decrypt(phone, cellOf("phone", userId)),
        "account.phone",
      );
    }
    await database.account.updateMany({ where: { userId, ...before }, data: after });
    return true;
  } catch (err) {
    log.warn({ event: "row_not_sealed_again", userId: String(userId), err });
    return false;
  }
}

/** Whether a code's number is still found by an index under the key. Codes go when they expire. */
async function codesUnder({ database }: Dependencies, keyId: string): Promise<boolean> {
  const found = await database.$queryRaw<unknown[]>`
    SELECT 1 AS one FROM auth.sms_code
    WHERE substring(phone_index FROM 1 FOR 16) = ${keyIdBytes(keyId)} LIMIT 1`;
  return found.length > 0;
}
