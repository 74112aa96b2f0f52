-- Up Migration

-- A change is identified by the transaction that made it, not by a time: the clocks of servers differ
-- and step. Sync and the sweep continue from the lowest transaction that was running when they last
-- read (pg_snapshot_xmin): every change of a transaction that they did not see is at or after it.
ALTER TABLE im.conversation DROP COLUMN updated_at_ms,
  ADD COLUMN changed_by xid8 NOT NULL DEFAULT pg_current_xact_id();
ALTER TABLE im.member DROP COLUMN updated_at_ms,
  ADD COLUMN changed_by xid8 NOT NULL DEFAULT pg_current_xact_id();

-- Users whose membership changed with the entry of the row; empty for messages.
ALTER TABLE im.outbox ADD COLUMN member_ids bigint[] NOT NULL DEFAULT '{}';

-- Changed conversations whose entries the bus has confirmed, for the sweep: one row per batch of
-- deleted outbox rows. conversation_ids[i] has entries up to last_sequences[i]. The membership of
-- member_ids[i] in member_conversation_ids[i] changed.
CREATE TABLE im.news (
  news_id                 bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  changed_by              xid8 NOT NULL DEFAULT pg_current_xact_id(),
  conversation_ids        bigint[] NOT NULL,
  last_sequences          bigint[] NOT NULL,
  member_conversation_ids bigint[] NOT NULL DEFAULT '{}',
  member_ids              bigint[] NOT NULL DEFAULT '{}'
);
CREATE INDEX news_changed ON im.news (changed_by);
ALTER TABLE im.news SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- One row: news of transactions before `floor` were deleted.
CREATE TABLE im.news_floor (
  one_row boolean PRIMARY KEY DEFAULT true CHECK (one_row),
  floor   xid8 NOT NULL
);
INSERT INTO im.news_floor (floor) VALUES (pg_current_xact_id());

-- Identifies the history of transaction ids: they are comparable only within one. It changes with a
-- new database cluster (restore, upgrade) and with each promotion or recovery to a point in time.
CREATE FUNCTION im.history() RETURNS text LANGUAGE sql STABLE AS $$
  SELECT system_identifier || '-' || CASE WHEN pg_is_in_recovery() THEN ''
           ELSE substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) END
    FROM pg_control_system()
$$;
