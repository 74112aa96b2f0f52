import { BUCKETS, bucketOf } from "#platform/buckets/bucket.ts";
import { BucketState } from "#platform/buckets/placement.ts";
import { bigints } from "../log/arrays.ts";
import type { Statement } from "../log/database.ts";
import { type Logs, throwFirst } from "../log/logs.ts";

export const selectGroups: Statement = {
  name: "im_groups_of",
  route: { kind: "everywhere", merge: "the union by user" },
  text: `
    SELECT i.user_id, m.conversation_id
      FROM unnest($1::bigint[]) AS i(user_id)
     CROSS JOIN LATERAL (SELECT g.conversation_id FROM im.member g
                          WHERE g.user_id = i.user_id AND g.kind = 2 AND g.left_sequence = 0
                         OFFSET 0) m`,
};

/**
 * As selectGroups, with one more row: a fingerprint of the buckets that the database has in the same
 * snapshot, the sum of their cubes; -1 while a bucket moves away. It costs a quarter of all states.
 */
export const selectGroupsAndPlaces: Statement = {
  name: "im_groups_and_places",
  route: { kind: "everywhere", merge: "the union by user" },
  text: `
    SELECT NULL::bigint AS user_id, NULL::bigint AS conversation_id,
           (SELECT CASE WHEN max(b.state) FILTER (WHERE b.state = ${BucketState.MOVING}) > 0 THEN -1
                   ELSE coalesce(sum(b.bucket::integer * b.bucket * b.bucket)
                                   FILTER (WHERE b.state = ${BucketState.HERE}), 0) END
              FROM im.bucket b) AS places
     UNION ALL
    SELECT g.*, NULL FROM (${selectGroups.text}) g`,
};

/** As selectGroups, with one more row: the states of all buckets in the same snapshot, as digits. */
export const selectGroupsAndStates: Statement = {
  name: "im_groups_and_states",
  route: { kind: "everywhere", merge: "the union by user, without buckets that moved elsewhere" },
  text: `
    SELECT NULL::bigint AS user_id, NULL::bigint AS conversation_id,
           (SELECT string_agg(b.state::text, '' ORDER BY b.bucket) FROM im.bucket b) AS places
     UNION ALL
    SELECT g.*, NULL FROM (${selectGroups.text}) g`,
};

/** Sum of the cubes of all buckets. */
const ALL_PLACES = ((BUCKETS * (BUCKETS - 1)) / 2) ** 2;

/** The groups of users. */
export interface UserGroups {
  /** Group ids of each user, in the order of the users. */
  readonly groups: readonly (readonly string[])[];
  /** Whether a database could not be read, or a bucket is moving: further groups may exist. */
  readonly incomplete: boolean;
}

/** Reads the groups of users. Throws UNAVAILABLE when no database can be read. */
export async function groupsOf(logs: Logs, userIds: readonly string[]): Promise<UserGroups> {
  const { rows, incomplete } = await readGroups(logs, bigints([...new Set(userIds)]));
  const byUser = new Map<string, Set<string>>();
  for (const { user_id: userId, conversation_id: groupId } of rows) {
    const groups = byUser.get(userId);
    if (groups === undefined) byUser.set(userId, new Set([groupId]));
    else groups.add(groupId);
  }
  return { groups: userIds.map((userId) => [...(byUser.get(userId) ?? [])]), incomplete };
}

interface GroupRow {
  readonly user_id: string;
  readonly conversation_id: string;
}

/**
 * The databases are not read at the same moment. When a bucket may have moved meanwhile, they are read
 * once more, with the states of the buckets.
 */
async function readGroups(
  logs: Logs,
  users: Buffer,
): Promise<{ rows: readonly GroupRow[]; incomplete: boolean }> {
  const isOne = logs.databases.length === 1;
  const first = await readAll(logs, isOne ? selectGroups : selectGroupsAndPlaces, users);
  const sum = first.results.reduce((total, { places }) => total + Number(places), 0);
  const someMove = first.results.some(({ places }) => places === "-1");
  if (isOne || first.failed || (sum === ALL_PLACES && !someMove))
    return { rows: first.results.flatMap(({ rows }) => rows), incomplete: first.failed };
  const second = await readAll(logs, selectGroupsAndStates, users);
  const owned = ownedBuckets(second.results.map(({ places }) => places));
  const rows = second.results.flatMap((one) => currentRows(one, owned));
  return { rows, incomplete: second.failed || owned.includes(false) };
}

/** Rows of one database, with the places that its statement selects. */
interface DatabaseRows {
  readonly rows: readonly GroupRow[];
  readonly places: string;
}

async function readAll(
  logs: Logs,
  statement: Statement,
  users: Buffer,
): Promise<{ results: readonly DatabaseRows[]; failed: boolean }> {
  const { results, failures } = await logs.everywhere(async (db) => {
    const rows = await db.run<GroupRow & { places?: string | null }>(statement, [users]);
    const at = rows.findIndex(({ places }) => places != null);
    const [places] = at < 0 ? [] : rows.splice(at, 1);
    return { rows, places: places?.places ?? "" };
  });
  if (results.length === 0) throwFirst(failures);
  return { results, failed: failures.length > 0 };
}

const HERE = String(BucketState.HERE);
const MOVING = String(BucketState.MOVING);

/**
 * By bucket: whether a database had it, and so all of its members, when it was read. The rows of a
 * bucket that is moving do not suffice: its members are deleted after the move's switch, and the target
 * may have been read before it.
 */
function ownedBuckets(states: readonly string[]): boolean[] {
  return Array.from({ length: BUCKETS }, (_, bucket) =>
    states.some((digits) => digits[bucket] === HERE),
  );
}

/** The rows without those of buckets that were moving and that another database had: they are stale. */
function currentRows({ rows, places: states }: DatabaseRows, owned: readonly boolean[]) {
  if (!states.includes(MOVING)) return rows;
  return rows.filter(({ conversation_id: groupId }) => {
    const bucket = bucketOf(groupId);
    return states[bucket] === HERE || !owned[bucket];
  });
}
