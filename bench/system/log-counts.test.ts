import assert from "node:assert/strict";
import { after, test } from "node:test";
import { systemClock } from "#platform/clock.ts";
import { allTimesOf } from "#platform/ids.fixture.ts";
import { createIds } from "#platform/ids.ts";
import { startTestPostgres } from "../../test/backends/postgres.ts";
import { processTreeKib } from "../machine/memory.ts";
import { EntryInserter } from "./entry-inserter.ts";
import { countCursorsBehind, countOutbox, findPostmaster, readLogCounts } from "./log-counts.ts";

const { url, pool } = await startTestPostgres({ after });

test("the counts of the log are read: rows, sequences, outbox, and lagging cursors", async () => {
  assert.deepEqual(await readLogCounts([url]), { rows: 0, sequences: 0, outbox: 0 });
  const sinceMs = systemClock.now();
  const ids = createIds({ window: allTimesOf(1), clock: systemClock });
  const inserter = new EntryInserter({ pool, ids, clock: systemClock });
  await inserter.makeConversations(2);
  await inserter.insert(6);
  assert.deepEqual(await readLogCounts([url]), { rows: 6, sequences: 6, outbox: 1 });
  assert.equal(await countOutbox([url]), 1);

  // In each conversation one member sent all messages.
  assert.equal(await countCursorsBehind([url], sinceMs), 2);
  await pool.query(
    `UPDATE im.member SET delivered_sequence = 3
      WHERE (conversation_id, user_id) IN (SELECT conversation_id, user_id FROM im.member
                                            WHERE user_id <> conversation_id LIMIT 1)`,
  );
  assert.equal(await countCursorsBehind([url], sinceMs), 1);

  // A row beyond the conversation's last sequence.
  await pool.query(
    `INSERT INTO im.entry
     SELECT conversation_id, sequence + 1, message_id + 1, sender_id, client_message_id || '!', kind,
            countable, accepted_at_ms, body
       FROM im.entry ORDER BY conversation_id, sequence DESC LIMIT 1`,
  );
  const { rows, sequences } = await readLogCounts([url]);
  assert.deepEqual({ rows, sequences }, { rows: 7, sequences: 6 });
});

test("the memory of a PostgreSQL includes all its processes", async () => {
  const postmaster = await findPostmaster(url);
  const { rows } = await pool.query("SELECT pg_backend_pid() AS pid");
  const backendKib = processTreeKib(rows[0].pid);
  assert.ok(backendKib > 0);
  assert.ok(processTreeKib(postmaster) > backendKib);
});
