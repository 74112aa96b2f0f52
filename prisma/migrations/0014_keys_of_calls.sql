-- Up Migration

-- SHA-256 of what the creating call asked for, so that a retry is told from another call with the same
-- key. Null: the group is older than this column, and every call with the key counts as a retry.
ALTER TABLE im.group_key ADD COLUMN request_hash bytea;

-- Deduplicates retries of Register, for a day. There is no foreign key: the row is inserted before its
-- account, in the same transaction, so that concurrent calls with one key wait for each other.
CREATE TABLE auth.registration_key (
  client_registration_id text PRIMARY KEY,
  user_id      bigint NOT NULL,
  -- SHA-256 of the names that the call asked for.
  request_hash bytea NOT NULL,
  expires_at   timestamptz(3) NOT NULL
);
CREATE INDEX registration_key_user ON auth.registration_key (user_id);
CREATE INDEX registration_key_expiry ON auth.registration_key (expires_at);
