-- Up Migration

-- Tables of the platform itself.
-- The migration runner may have created the schema before, for its own table lucky.migration.
CREATE SCHEMA IF NOT EXISTS lucky;

-- Worker numbers of snowflake ids: one holder at a time, under a lease.
CREATE TABLE lucky.worker (
  number     smallint PRIMARY KEY CHECK (number BETWEEN 0 AND 1023),
  holder     text NOT NULL,
  expires_at timestamptz NOT NULL
);
