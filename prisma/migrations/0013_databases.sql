-- Up Migration

-- The log can be spread over several databases, each with whole buckets of conversations. One row:
-- the identity of this database, which stays the same when its address changes.
CREATE TABLE im.database (
  one_row     boolean PRIMARY KEY DEFAULT true CHECK (one_row),
  database_id uuid NOT NULL DEFAULT gen_random_uuid(),
  -- Epoch of the last reset of the log; see platform/backup/reset-log.ts. A bucket that moved here may
  -- have another one.
  epoch       bigint NOT NULL
);
INSERT INTO im.database (epoch) SELECT max(epoch) FROM im.bucket;

-- 0: the conversations of the bucket are in another database. 1: they are here. 2: they are moving
-- from here to another database, and nothing is written to them. 3: their entries are being copied
-- here from another database, which still has them. Every bucket has the state 1 in at most one
-- database, and at no time in two. A new database has none until buckets are assigned to it.
ALTER TABLE im.bucket ADD COLUMN state smallint NOT NULL DEFAULT 0 CHECK (state BETWEEN 0 AND 3);
UPDATE im.bucket SET state = 1 WHERE EXISTS (SELECT FROM im.conversation);

-- Returns true when the buckets of all conversations are here; raises LK001 otherwise. A statement
-- that writes to the log calls it in the same snapshot in which it writes. A move first sets the state
-- under a lock on im.conversation and im.member, so that no later statement finds the old state.
CREATE FUNCTION im.owns(conversation_ids bigint[]) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
DECLARE
  foreign_bucket smallint;
BEGIN
  SELECT b.bucket INTO foreign_bucket
    FROM unnest(conversation_ids) AS i(id)
    JOIN im.bucket b ON b.bucket = (i.id & 1023)::smallint
   WHERE b.state <> 1 LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'bucket % is not in this database', foreign_bucket
      USING ERRCODE = 'LK001', DETAIL = foreign_bucket;
  END IF;
  RETURN true;
END
$$;

-- Databases of one cluster have histories of their own. The history changes with each reset of the
-- log, and not with the epoch of a bucket that moved here.
CREATE OR REPLACE FUNCTION im.history() RETURNS text LANGUAGE sql STABLE AS $$
  SELECT system_identifier || '-' || CASE WHEN pg_is_in_recovery() THEN ''
           ELSE substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) END
         || '-' || (SELECT epoch FROM im.database WHERE one_row)
         || '-' || (SELECT oid FROM pg_database WHERE datname = current_database())
    FROM pg_control_system()
$$;
