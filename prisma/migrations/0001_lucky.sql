-- Up Migration

-- What the platform itself keeps.
-- The schema exists already when the runner keeps its own table, lucky.migration, in it.
CREATE SCHEMA IF NOT EXISTS lucky;

-- Worker numbers of snowflake ids: one holder at a time, under a lease.
CREATE TABLE lucky.worker (
  number     smallint PRIMARY KEY CHECK (number BETWEEN 0 AND 1023),
  holder     text NOT NULL,
  expires_at timestamptz NOT NULL
);
