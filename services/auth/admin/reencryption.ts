import type { Clock } from "#platform/clock.ts";
import type { Log } from "#platform/log.ts";
import { cellOf, ENCRYPTED_COLUMNS } from "../accounts/shown-profile.ts";
import type { AuthConfig } from "../config.ts";
import type { Account, Database, Prisma } from "../database.ts";
import type { ColumnEncryption } from "../keys/column-encryption.ts";
import type { Keyring } from "../keys/keyring.ts";
import { activeKey, KEY_ID_BYTES, keyIdBytes, type SecretKey } from "../keys/keys.ts";
import { CLOCK_SKEW_MS } from "../keys/rotation-schedule.ts";

interface ReencryptionParts {
  clock: Clock;
  columns: ColumnEncryption;
  config: Pick<AuthConfig, "keyRefreshSeconds" | "sealAgainRows">;
  database: Database;
  keyring: Pick<Keyring, "keys">;
  log: Log;
}

/**
 * Re-encrypts columns and recomputes blind indexes that use older data and index keys, under the
 * active keys. One step reads batches of `sealAgainRows` accounts and ends with the first batch in
 * which at least one account could be re-encrypted. Returns the number of accounts found. 0 means
 * that no column uses older keys; then the older keys are retired.
 *
 * Instances may run it concurrently: an update changes a row only if its columns are still as they
 * were read, so a race loses no newer value.
 */
export async function reencrypt(parts: ReencryptionParts): Promise<number> {
  const { clock, config, database, keyring, log } = parts;
  const now = clock.now();
  const data = activeKey(keyring.keys.data, now);
  const index = activeKey(keyring.keys.index, now);
  const older = [...keysBefore(keyring.keys.data, data), ...keysBefore(keyring.keys.index, index)];
  const unretired = await database.key.findMany({
    where: { keyId: { in: older.map(({ keyId }) => keyId) }, retiredAt: null },
    select: { keyId: true, purpose: true },
  });
  // The usual case: the whole step costs one lookup by key.
  if (unretired.length === 0) return 0;

  let found = 0;
  let failures = 0;
  let batch: Account[] = [];
  do {
    batch = await accountsUnderOtherKeys(parts, { data, index }, batch.at(-1)?.userId ?? 0n);
    for (const account of batch) if (!(await reencryptRow(parts, account, index))) failures++;
    found += batch.length;
    // A whole batch of rows that fail to decrypt must not prevent the re-encryption of later rows.
  } while (batch.length > 0 && failures === found);
  if (failures > 0) log.error({ event: "reencryption_failed", failures });
  if (found > 0) return found;

  // Until then, an instance with stale cached keys or a slow clock may still use an older key.
  const settledMs = config.keyRefreshSeconds * 1_000 + CLOCK_SKEW_MS;
  for (const { keyId, purpose } of unretired) {
    const { activeAtMs } = purpose === "data" ? data : index;
    if (activeAtMs + settledMs > now) continue;
    if (purpose === "index" && (await smsCodesUseKey(database, keyId))) continue;
    const retired = await database.key.updateMany({
      where: { keyId, retiredAt: null },
      data: { retiredAt: new Date(now) },
    });
    if (retired.count > 0) log.info({ event: "key_retired", keyId, purpose });
  }
  return 0;
}

/**
 * The keys that the active key replaced. `keys` is newest first; keys before the active one are not
 * active yet.
 */
function keysBefore(keys: readonly SecretKey[], active: SecretKey): readonly SecretKey[] {
  return keys.slice(keys.indexOf(active) + 1);
}

/** The next batch of accounts, by id, with a column or index under a key that is not active. */
async function accountsUnderOtherKeys(
  { config, database }: ReencryptionParts,
  active: { data: SecretKey; index: SecretKey },
  afterUserId: bigint,
): Promise<Account[]> {
  const data = keyIdBytes(active.data.keyId);
  const index = keyIdBytes(active.index.keyId);
  // Each value begins with the id of its key. NULL <> x is not true, so NULL columns do not match.
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

/** False when a value fails to decrypt, or when another account now has the new index. */
async function reencryptRow(
  { columns, database, log }: ReencryptionParts,
  account: Account,
  index: SecretKey,
): Promise<boolean> {
  const { userId, phone, phoneIndex } = account;
  const expected: Prisma.AccountWhereInput = {};
  const changes: Prisma.AccountUpdateManyMutationInput = {};
  try {
    for (const column of ENCRYPTED_COLUMNS) {
      const sealed = account[column];
      if (sealed === null || columns.isCurrent(sealed)) continue;
      const place = cellOf(column, userId);
      expected[column] = sealed;
      changes[column] = columns.encrypt(columns.decrypt(sealed, place), place);
    }
    if (
      phone &&
      phoneIndex &&
      !keyIdBytes(index.keyId).equals(phoneIndex.subarray(0, KEY_ID_BYTES))
    ) {
      expected.phone = phone;
      changes.phoneIndex = columns.blindIndex(
        columns.decrypt(phone, cellOf("phone", userId)),
        "account.phone",
      );
    }
    await database.account.updateMany({ where: { userId, ...expected }, data: changes });
    return true;
  } catch (err) {
    log.warn({ event: "row_not_reencrypted", userId: String(userId), err });
    return false;
  }
}

/**
 * Whether an SMS code still stores a phone index under the key. Expired codes are deleted later.
 */
async function smsCodesUseKey(database: Database, keyId: string): Promise<boolean> {
  const found = await database.$queryRaw<unknown[]>`
    SELECT 1 AS one FROM auth.sms_code
    WHERE substring(phone_index FROM 1 FOR 16) = ${keyIdBytes(keyId)} LIMIT 1`;
  return found.length > 0;
}
