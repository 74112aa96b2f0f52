import assert from "node:assert/strict";
import { after, test } from "node:test";
import { bucketOf, bucketOfGroup, bucketOfPair } from "#platform/buckets/bucket.ts";
import { closeLogs, type LockedLog, lockLogs } from "#platform/buckets/locked-logs.ts";
import { moveBuckets } from "#platform/buckets/move.ts";
import { resumeMoves } from "#platform/buckets/resume.ts";
import { quiet, startTestPostgres } from "../../../test/backends/postgres.ts";
import { type RunningServer, Stand, say } from "../server.fixture.ts";

const COUNT = 3;
const [SOURCE, TARGET] = [2, 0];
const { logs, logUrls } = await startTestPostgres({ after }, { max: 6, logs: COUNT });
const { signal } = new AbortController();

/** The first candidates whose bucket is in a database. */
function inDatabase(database: number, bucket: (n: number) => number, count = 1): string[] {
  const found: string[] = [];
  for (let n = 1_000; found.length < count; n++)
    if (bucket(n) % COUNT === database) found.push(String(n));
  return found;
}

async function locked(work: (logs: LockedLog[]) => Promise<unknown>): Promise<void> {
  const all = await lockLogs(
    logUrls.map((url) => ({ url })),
    { waitMs: 10_000 },
  );
  await work(all).finally(() => closeLogs(all));
}

/** Moves a bucket, and dies before the source's rows are deleted. */
async function startMove(bucket: number, fenced = async () => {}) {
  const moving = locked((all) =>
    moveBuckets({
      from: all[SOURCE]!,
      to: all[TARGET]!,
      buckets: [bucket],
      signal,
      log: quiet,
      async onStep(step) {
        if (step === "fenced") await fenced();
        if (step === "switched") throw new Error("killed");
      },
    }),
  );
  await assert.rejects(moving, /killed/);
}

const resume = () => locked((all) => resumeMoves(all, { signal, log: quiet }));

/** All conversations of Sync from a cursor, page by page, with the last cursor. */
async function syncAll(server: RunningServer, request: { cursor: string; limit: number }) {
  const conversations = [];
  for (let { cursor } = request; ; ) {
    const page = await server.messages("1").sync({ ...request, cursor });
    conversations.push(...page.conversations);
    cursor = page.nextCursor;
    if (!page.hasMore) return { conversations, cursor };
  }
}

test("pages of Sync never show the state of a conversation before its move", async (t) => {
  const stand = new Stand(t, logs);
  const one = await stand.server();
  const pair = (peer: number) => bucketOfPair("1", String(peer));
  const [moved] = inDatabase(SOURCE, pair) as [string];
  await one.append(...inDatabase(TARGET, pair, 3).map((peer) => say("1", peer, "a")));
  await one.append(say("1", moved, "a"));
  const { cursor: start } = await syncAll(one, { cursor: "", limit: 1 });
  await one.append(say("1", moved, "b"));
  await startMove(bucketOfPair("1", moved));
  // The servers read the places of the buckets.
  stand.clock.advance(5_000);
  await one.messages("1").sync({});
  await one.append(say("1", moved, "c"));
  for (const cursor of ["", start]) {
    for (const limit of [1, 2, 0]) {
      const { conversations } = await syncAll(one, { cursor, limit });
      const ends = conversations
        .filter(({ peerUserId }) => peerUserId === moved)
        .map(({ lastSequence }) => Number(lastSequence));
      assert.deepEqual(ends, [3], `limit ${limit}`);
    }
  }
  await resume();
});

test("a group that has moved counts once, and former members are not found in old rows", async (t) => {
  const stand = new Stand(t, logs);
  const one = await stand.server({ maxGroupsPerUser: 2 });
  const key = (n: number) => bucketOfGroup("2", String(n));
  const [clientGroupId] = inDatabase(SOURCE, key) as [string];
  const [other] = inDatabase(1, key) as [string];
  const made = await one.groups("2").createGroup({ name: "g", userIds: ["3"], clientGroupId });
  const { groupId } = made.group!;
  await startMove(bucketOf(groupId));
  stand.clock.advance(5_000);
  await one.groups("2").createGroup({ name: "g", clientGroupId: other });
  await one.groups("2").removeMember({ groupId, userId: "3" });
  const { opened } = await one.ingress.openSessions({ userIds: ["2", "3"] });
  assert.deepEqual(
    opened.map(({ groupIds }) => groupIds.length),
    [2, 0],
  );
  await resume();
});

test("a sweep with an old cursor finds no old rows, and repeats what may be missing", async (t) => {
  const stand = new Stand(t, logs);
  const one = await stand.server();
  const pair = (peer: number) => bucketOfPair("5", String(peer));
  const [moved] = inDatabase(SOURCE, pair) as [string];
  const [other] = inDatabase(TARGET, pair) as [string];
  await one.append(say("5", moved, "a"), say("5", other, "a"), say("5", moved, "b"));
  // A cursor of a history that no database has.
  const sweep = async (cursor = "restored.7") => {
    const { changes, nextCursor } = await one.ingress.sweep({ userIds: ["5"], cursor });
    const ends = changes.map(({ lastSequence }) => Number(lastSequence)).sort();
    return { ends, nextCursor };
  };
  let cursor = "";
  await startMove(bucketOfPair("5", moved), async () => {
    const { ends, nextCursor } = await sweep();
    assert.deepEqual(ends, [1, 2]);
    // The bucket is in no database: its rows may be missing.
    assert.match(nextCursor, /^[\w-]+\.0,[\w-]+\.0,[\w-]+\.0$/);
    cursor = nextCursor;
  });
  stand.clock.advance(5_000);
  await one.messages("5").sync({});
  await one.append(say("5", moved, "c"));
  const { ends, nextCursor } = await sweep(cursor);
  assert.deepEqual(ends, [1, 3]);
  assert.doesNotMatch(nextCursor, /\.0(,|$)/);
  assert.deepEqual((await sweep()).ends, [1, 3]);
  await resume();
  assert.deepEqual((await sweep()).ends, [1, 3]);
});
