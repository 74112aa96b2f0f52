-- Up Migration

-- Conversations share 1,024 buckets by the low ten bits of their id. The epoch of a bucket changes
-- when its logs are reset: a restore from a backup may have removed entries that devices have seen,
-- and the sequences of these entries are given to others. Epochs are compared for equality only; see
-- platform/backup/reset-log.ts.
CREATE TABLE im.bucket (
  bucket smallint PRIMARY KEY CHECK (bucket BETWEEN 0 AND 1023),
  epoch  bigint NOT NULL DEFAULT 1
);
INSERT INTO im.bucket (bucket) SELECT generate_series(0, 1023);
CREATE INDEX bucket_epoch ON im.bucket (epoch);

-- A reset is also a new history of transaction ids. A cluster that was restored from a base backup
-- without a recovery target keeps its identifier and its timeline, although it gives transaction ids
-- to other changes than before.
CREATE OR REPLACE FUNCTION im.history() RETURNS text LANGUAGE sql STABLE AS $$
  SELECT system_identifier || '-' || CASE WHEN pg_is_in_recovery() THEN ''
           ELSE substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) END
         || '-' || (SELECT max(epoch) FROM im.bucket)
    FROM pg_control_system()
$$;
