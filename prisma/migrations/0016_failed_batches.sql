-- Up Migration

-- As in 0015, for a database that has that migration already.
SET LOCAL lock_timeout = '2s';

-- Why and when server gave up a batch of the outbox, for operators. Null while it has not, and for
-- batches that an earlier version gave up.
ALTER TABLE im.outbox ADD COLUMN failure text, ADD COLUMN failed_at_ms bigint;

-- Dead letters of the bus, without any content: one row per envelope. It had entries of
-- conversation_ids[i] from first_sequences[i] to last_sequences[i]. Server deletes all but the last rows.
CREATE TABLE im.dead_letter (
  dead_letter_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at_ms            bigint NOT NULL,
  queue            text NOT NULL,
  reason           text NOT NULL,
  bytes            integer NOT NULL,
  -- Number of conversations in the envelope; the arrays have the first of them.
  conversations    integer NOT NULL,
  conversation_ids bigint[] NOT NULL,
  first_sequences  bigint[] NOT NULL,
  last_sequences   bigint[] NOT NULL
);
CREATE INDEX dead_letter_at ON im.dead_letter (at_ms, dead_letter_id);
