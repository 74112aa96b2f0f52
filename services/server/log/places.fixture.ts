import { bucketOfGroup, bucketOfPair } from "#platform/buckets/bucket.ts";
import { encode, type Outgoing } from "../server.fixture.ts";

/** Databases of the tests: bucket b is in database b mod 3. */
const DATABASES = 3;

/** Ids of users from `first` on whose direct conversation with the user is in the database. */
export function peersIn(database: number, userId: number, first: number, count: number): string[] {
  const found: string[] = [];
  for (let peer = first; found.length < count; peer++)
    if (bucketOfPair(String(userId), String(peer)) % DATABASES === database)
      found.push(String(peer));
  return found;
}

/** A client_group_id whose group of the user is in the database. */
export function keyIn(database: number, userId = "3000"): string {
  for (let n = 0; ; n++)
    if (bucketOfGroup(userId, `k${n}`) % DATABASES === database) return `k${n}`;
}

/** Sends as connect passes them on. */
export function uplinksOf(sends: readonly Outgoing[]) {
  return sends.map((send) => ({ senderId: send.from, sessionId: "", send: encode(send) }));
}
