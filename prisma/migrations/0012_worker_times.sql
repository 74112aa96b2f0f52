-- Up Migration

-- End of the times that holders of the worker number may have put into ids, milliseconds since the
-- Unix epoch; exclusive. It never decreases: a holder first moves it forward, then creates ids with
-- earlier times, and the next holder starts here. So ids stay unique when the time of day steps back.
-- Ids of earlier versions contain times up to the migration.
ALTER TABLE lucky.worker ADD COLUMN reserved_until_ms bigint NOT NULL
  DEFAULT floor(extract(epoch FROM now()) * 1000)::bigint;
ALTER TABLE lucky.worker ALTER COLUMN reserved_until_ms SET DEFAULT 0;
