import assert from "node:assert/strict";
import { after, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import type pg from "pg";
import { bucketOf, bucketOfGroup } from "#platform/buckets/bucket.ts";
import { closeLogs, lockLogs } from "#platform/buckets/locked-logs.ts";
import { type MoveStep, moveBuckets } from "#platform/buckets/move.ts";
import { quiet, startTestPostgres } from "../../../test/backends/postgres.ts";
import { type RunningServer, Stand } from "../server.fixture.ts";

const { logs, logUrls } = await startTestPostgres({ after }, { max: 8, logs: 2 });

/** Moves a bucket; `onStep` is called after each step. */
async function move(
  bucket: number,
  [from, to]: [number, number],
  onStep?: (step: MoveStep) => Promise<void>,
): Promise<void> {
  const locked = await lockLogs(logUrls.map((url) => ({ url })));
  const { signal } = new AbortController();
  const places = { from: locked[from]!, to: locked[to]!, buckets: [bucket] };
  await moveBuckets({ ...places, signal, log: quiet, onStep }).finally(() => closeLogs(locked));
}

/** Creates a group of the user in the first database. */
async function groupIn(server: RunningServer, userId: string): Promise<string> {
  let n = 0;
  while (bucketOfGroup(userId, `k${n}`) % 2 !== 0) n++;
  const request = { name: "g", userIds: ["4001"], clientGroupId: `k${n}` };
  return (await server.groups(userId).createGroup(request)).group!.groupId;
}

async function opened({ ingress }: RunningServer, userId: string) {
  const { opened } = await ingress.openSessions({ userIds: [userId] });
  return { groupIds: [...opened[0]!.groupIds].sort(), incomplete: opened[0]!.incomplete };
}

test("groups whose bucket moves between the reads of its new and its old database are found", async (t) => {
  let gate: Promise<void> | undefined;
  const connect = async () => {
    await gate;
    return logs[0]!.connect();
  };
  const late = Object.create(logs[0]!, { connect: { value: connect } }) as pg.Pool;
  let targetRead: (() => void) | undefined;
  const observe = (database: number, { name }: { name: string }) => {
    if (database === 1 && name.startsWith("im_groups")) targetRead?.();
  };
  const one = await new Stand(t, [late, logs[1]!]).server({}, { observe });
  const groupId = await groupIn(one, "4000");
  const bucket = bucketOf(groupId);

  const moved = Promise.withResolvers<void>();
  gate = moved.promise;
  const reading = Promise.withResolvers<void>();
  targetRead = reading.resolve;
  const opening = opened(one, "4000");
  await reading.promise;
  // The read has ended when its connection is idle.
  do await turn();
  while (logs[1]!.idleCount < logs[1]!.totalCount);
  await move(bucket, [0, 1]);
  gate = undefined;
  moved.resolve();
  assert.deepEqual(await opening, { groupIds: [groupId], incomplete: false });
  await move(bucket, [1, 0]);
});

test("groups are incomplete while their bucket is in no database, and rows at the old one are stale", async (t) => {
  const stand = new Stand(t, logs);
  const one = await stand.server();
  const groupId = await groupIn(one, "4010");
  const bucket = bucketOf(groupId);
  const found = new Map<MoveStep, { groupIds: string[]; incomplete: boolean }>();
  await move(bucket, [0, 1], async (step) => {
    if (step === "switched") {
      stand.clock.advance(100); // The server may read the places again.
      await one.groups("4010").removeMember({ groupId, userId: "4001" });
    }
    found.set(step, await opened(one, "4001"));
  });
  const groupIds = found.get("prepared")!.groupIds;
  assert.ok(groupIds.includes(groupId));
  assert.deepEqual(
    [...found],
    [
      ["prepared", { groupIds, incomplete: false }],
      ["copied", { groupIds, incomplete: false }],
      ["fenced", { groupIds, incomplete: true }],
      ["switched", { groupIds: groupIds.filter((id) => id !== groupId), incomplete: false }],
      ["cleaned", { groupIds: groupIds.filter((id) => id !== groupId), incomplete: false }],
    ],
  );
});
