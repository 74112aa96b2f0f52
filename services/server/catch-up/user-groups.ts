import { bigints } from "../log/arrays.ts";
import type { Statement } from "../log/database.ts";
import type { Logs } from "../log/logs.ts";
import { byUser, readByUser } from "../log/moved-rows.ts";

export const selectGroups: Statement = {
  name: "im_groups_of",
  route: { kind: "everywhere", merge: "the union by user" },
  text: `
    SELECT i.user_id, m.conversation_id, m.first_sequence
      FROM unnest($1::bigint[]) AS i(user_id)
     CROSS JOIN LATERAL (SELECT g.conversation_id, g.first_sequence FROM im.member g
                          WHERE g.user_id = i.user_id AND g.kind = 2 AND g.left_sequence = 0
                         OFFSET 0) m`,
};

export const groupsByUser = byUser(selectGroups, ["user_id", "conversation_id", "first_sequence"]);

/** The groups of users. */
export interface UserGroups {
  /** The groups of each user, in the order of the users: the first sequence that the user may see. */
  readonly groups: readonly ReadonlyMap<string, bigint>[];
  /** Whether a database could not be read, or a bucket is moving: further groups may exist. */
  readonly incomplete: boolean;
}

/** Reads the groups of users. Throws UNAVAILABLE when no database can be read. */
export async function groupsOf(logs: Logs, userIds: readonly string[]): Promise<UserGroups> {
  const users = bigints([...new Set(userIds)]);
  const { rows, failed, moved } = await readByUser<GroupRow>(logs, groupsByUser, () => [users]);
  const byUser = new Map(userIds.map((userId) => [userId, new Map<string, bigint>()]));
  for (const row of rows)
    byUser.get(row.user_id)!.set(row.conversation_id, BigInt(row.first_sequence));
  const groups = userIds.map((userId) => byUser.get(userId)!);
  return { groups, incomplete: failed.length > 0 || moved };
}

interface GroupRow {
  readonly user_id: string;
  readonly conversation_id: string;
  readonly first_sequence: string;
}
