-- Rights of the group roles lucky_auth and lucky_server, for the users that auth and server log in as.
-- `npm run migrate` applies this file after the migrations, in one transaction, as the owner of the
-- tables, and so does a process of the owner that applies migrations at its start. Until then, the
-- table of a new migration is closed to both roles. It can be repeated.
--
-- Neither role can create, change, truncate or drop a table, or disable a trigger.

REVOKE ALL ON SCHEMA auth, im, lucky FROM lucky_auth, lucky_server;
REVOKE ALL ON ALL TABLES IN SCHEMA auth, im, lucky FROM lucky_auth, lucky_server;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA auth, im, lucky FROM lucky_auth, lucky_server;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA auth, im, lucky FROM PUBLIC, lucky_auth, lucky_server;

-- Both: leases of worker numbers, and which migrations were applied.
GRANT USAGE ON SCHEMA lucky TO lucky_auth, lucky_server;
GRANT SELECT, INSERT, UPDATE ON lucky.worker TO lucky_auth, lucky_server;
GRANT SELECT ON lucky.migration TO lucky_auth, lucky_server;

-- auth: its tables, except what it never does.
GRANT USAGE ON SCHEMA auth TO lucky_auth;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA auth TO lucky_auth;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA auth TO lucky_auth;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA auth TO lucky_auth;
-- The audit is append-only.
REVOKE UPDATE, DELETE ON auth.audit FROM lucky_auth;
-- A deleted account keeps its row.
REVOKE DELETE ON auth.account FROM lucky_auth;

-- server: its tables, except what it never does.
GRANT USAGE ON SCHEMA im TO lucky_server;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA im TO lucky_server;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA im TO lucky_server;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA im TO lucky_server;
-- The log is append-only, except that edits and recalls replace bodies. A conversation, its users' pair
-- and its creation key stay.
REVOKE UPDATE, DELETE ON im.entry, im.direct, im.group_key FROM lucky_server;
GRANT UPDATE (body) ON im.entry TO lucky_server;
-- Only the owner changes the buckets: restores and moves.
REVOKE INSERT, UPDATE, DELETE ON im.bucket, im.database FROM lucky_server;
-- A former member keeps a row.
REVOKE DELETE ON im.conversation, im.member FROM lucky_server;

-- Earlier versions gave the roles all rights on the tables of later migrations.
ALTER DEFAULT PRIVILEGES IN SCHEMA auth REVOKE ALL ON TABLES FROM lucky_auth;
ALTER DEFAULT PRIVILEGES IN SCHEMA auth REVOKE ALL ON SEQUENCES FROM lucky_auth;
ALTER DEFAULT PRIVILEGES IN SCHEMA auth REVOKE ALL ON FUNCTIONS FROM lucky_auth;
ALTER DEFAULT PRIVILEGES IN SCHEMA im REVOKE ALL ON TABLES FROM lucky_server;
ALTER DEFAULT PRIVILEGES IN SCHEMA im REVOKE ALL ON SEQUENCES FROM lucky_server;
ALTER DEFAULT PRIVILEGES IN SCHEMA im REVOKE ALL ON FUNCTIONS FROM lucky_server;
