import assert from "node:assert/strict";
import { after, test } from "node:test";
import { startTestPostgres } from "../../../test/backends/postgres.ts";
import { accepted, Stand, say } from "../server.fixture.ts";
import { keyIn, peersIn, uplinksOf } from "./places.fixture.ts";

const { logs } = await startTestPostgres({ after }, { max: 6, logs: 3 });

/** Resolves when this number of statements waits for a lock in the database. */
async function untilWaiting(database: number, count: number): Promise<void> {
  const waiting = async () => {
    const { rows } = await logs[0]!.query(
      `SELECT count(*)::int AS n FROM pg_stat_activity
        WHERE datname = $1 AND wait_event_type = 'Lock'`,
      [`log_${database}`],
    );
    return rows[0].n;
  };
  while ((await waiting()) < count);
}

/** Resolves when no statement runs in the first database, and its answers have been read. */
async function untilIdle(): Promise<void> {
  const running = async () => {
    const { rows } = await logs[0]!.query(
      `SELECT count(*)::int AS n FROM pg_stat_activity
        WHERE datname = current_database() AND state = 'active' AND pid <> pg_backend_pid()`,
    );
    return rows[0].n;
  };
  for (let calm = 0; calm < 4; ) calm = (await running()) === 0 ? calm + 1 : 0;
}

test("a database that does not answer delays a call for others once and for a bounded time", async (t) => {
  const stand = new Stand(t, logs);
  const one = await stand.server({ databaseAnswerMs: 2_000 });
  const [here] = peersIn(0, 3_000, 3_200, 1);
  const [there] = peersIn(1, 3_000, 3_200, 1);
  const [a, b] = await one.append(say("3000", here!, "1"), say("3000", there!, "1"));
  const advances = [a, b].map((result) => ({
    userId: "3000",
    cursor: { conversationId: accepted(result).conversationId, deliveredSequence: 1n },
  }));
  const append = (key: string) =>
    one.ingress.appendBatch({
      uplinks: uplinksOf([say("3000", here!, key), say("3000", there!, key)]),
    });
  const isEmpty = ({ results }: { results: Uint8Array[] }) =>
    results.map(({ length }) => length === 0);

  const locker = await logs[1]!.connect();
  await locker.query("BEGIN; LOCK TABLE im.conversation, im.member IN ACCESS EXCLUSIVE MODE");
  const appending = append("2");
  const others = Promise.all([
    one.messages("3000").sync({ cursor: "" }),
    one.ingress.openSessions({ userIds: ["3000"] }),
    one.ingress.advanceBatch({ advances }),
  ]);
  await untilWaiting(1, 4);
  await untilIdle();
  // All of them end while the database still hangs.
  stand.clock.advance(2_000);
  const [synced, opened, advanced] = await others;
  // In small steps, in which the other databases answer.
  for (let step = 0; step < 10; step++) {
    stand.clock.advance(100);
    await one.messages("3000").sync({ cursor: "" });
  }
  assert.deepEqual(isEmpty(await appending), [false, true]);
  assert.deepEqual(
    synced.conversations.map(({ peerUserId }) => peerUserId),
    [here],
  );
  assert.ok(synced.retryAfterMs > 0n);
  assert.equal(opened.opened[0]!.incomplete, true);
  assert.deepEqual(advanced.failed, [1]);
  // Later calls do not wait at all: the clock stands still.
  assert.deepEqual(isEmpty(await append("3")), [false, true]);
  assert.ok((await one.messages("3000").sync({ cursor: "" })).retryAfterMs > 0n);
  const key = keyIn(0);
  assert.ok((await one.groups("3000").createGroup({ name: "g", clientGroupId: key })).group);

  await locker.query("ROLLBACK");
  locker.release();
  // The late statements end, and the sends that failed are in the log, in front of their retries.
  const retries = ["2", "3"].map((text) => say("3000", there!, text));
  const retry = () => one.append(...retries).catch(() => undefined);
  let results = await retry();
  while (results === undefined) {
    await new Promise((resolve) => setImmediate(resolve));
    results = await retry();
  }
  assert.deepEqual(
    results.map((result) => accepted(result).sequence),
    [2, 3],
  );
});
