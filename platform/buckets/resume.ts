import type { Log } from "#platform/log.ts";
import { BUCKETS } from "./bucket.ts";
import { cleanUp, deleteCopied, rollBack } from "./finish.ts";
import { type LockedLog, readStates } from "./locked-logs.ts";
import { createIndexes, readTables } from "./moved-tables.ts";
import { BucketState } from "./placement.ts";

/** A bucket, and the databases that have it in each state. */
export interface BucketPlaces {
  readonly bucket: number;
  readonly here: readonly number[];
  readonly moving: readonly number[];
  readonly arriving: readonly number[];
}

/** The places of all buckets, from the states in each database. */
export function placesOf(states: readonly (readonly number[])[]): BucketPlaces[] {
  return Array.from({ length: BUCKETS }, (_, bucket) => {
    const inState = (state: number) =>
      [...states.keys()].filter((at) => states[at]![bucket] === state);
    return {
      bucket,
      here: inState(BucketState.HERE),
      moving: inState(BucketState.MOVING),
      arriving: inState(BucketState.ARRIVING),
    };
  });
}

/** Whether a move of the bucket is unfinished. */
export const isUnfinished = ({ moving, arriving }: BucketPlaces): boolean =>
  moving.length + arriving.length > 0;

/** Whether the bucket is in exactly one database, or moves from exactly one. */
const isPlaced = ({ here, moving }: BucketPlaces): boolean =>
  here.length === 1 || (here.length === 0 && moving.length === 1);

/**
 * Gives up buckets of one database that another one has, too: they count as moved from it, and `resumeMoves`
 * deletes their rows. Throws an error for operators unless the database and another one have each of
 * them; then nothing was changed.
 */
export async function giveUpBuckets(
  logs: readonly LockedLog[],
  { buckets, from }: { readonly buckets: readonly number[]; readonly from: LockedLog },
): Promise<void> {
  const places = placesOf(await Promise.all(logs.map(readStates)));
  for (const bucket of buckets) {
    const here = places[bucket]!.here.map((at) => logs[at]!.number);
    if (!here.includes(from.number))
      throw new Error(`Bucket ${bucket} is not in database ${from.number}. Nothing was changed.`);
    if (here.length === 1)
      throw new Error(`Bucket ${bucket} is in no other database. Nothing was changed.`);
  }
  await from.client.query(
    `UPDATE im.bucket SET state = ${BucketState.MOVING}
      WHERE bucket = ANY ($1::int[]) AND state = ${BucketState.HERE}`,
    [buckets],
  );
}

/**
 * Finishes the moves that were killed: after the switch it cleans up, before the switch it goes back.
 * `logs` are all databases of the log. Returns the number of buckets. Throws an error for operators
 * when a bucket is in two databases or in none, which only a restore of one of them leaves behind;
 * then nothing was changed.
 */
export async function resumeMoves(
  logs: readonly LockedLog[],
  { signal, log }: { readonly signal: AbortSignal; readonly log: Log },
): Promise<number> {
  const places = placesOf(await Promise.all(logs.map(readStates)));
  if (places.every(({ here, moving }) => here.length + moving.length === 0))
    throw new Error(
      'No database has any bucket of conversations yet. Run "npm run migrate" first.',
    );
  const wrong = places.find((one) => !isPlaced(one));
  if (wrong !== undefined) throw misplaced(wrong);
  const unfinished = places.filter(isUnfinished);
  const indexed = new Set<LockedLog>();
  const index = async (of: LockedLog) => {
    if (!indexed.has(of)) await createIndexes(of.client, await readTables(of.client));
    indexed.add(of);
  };
  for (const { bucket, here, moving, arriving } of unfinished) {
    for (const at of moving) {
      const source = logs[at]!;
      await index(source);
      if (here.length === 0) await rollBack(source.client, bucket);
      else
        await cleanUp(source.client, { bucket, tables: await readTables(source.client), signal });
      const outcome = here.length === 0 ? "rolled back" : "cleaned up";
      log.info({ event: "bucket_move_resumed", bucket, database: source.number, outcome });
    }
    const owner = logs[here[0] ?? moving[0]!]!;
    for (const at of arriving) {
      await index(owner);
      await deleteCopied(logs[at]!.client, { owner: owner.client, bucket, signal });
      log.info({ event: "bucket_copy_deleted", bucket, database: logs[at]!.number });
    }
  }
  return unfinished.length;
}

function misplaced({ bucket, here, moving }: BucketPlaces): Error {
  const numbers = [...here, ...moving].map((at) => at + 1);
  const text =
    numbers.length === 0
      ? `Bucket ${bucket} is in no database.`
      : `Bucket ${bucket} is in several databases: ${numbers.join(", ")}.`;
  return new Error(
    `${text} docs/administration.md, section "Several databases", describes the repair after a restore.`,
  );
}
