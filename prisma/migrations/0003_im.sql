-- Up Migration

-- Owned by server: conversations and their logs. Every key starts with conversation_id, so that the
-- log can be distributed. Times are milliseconds since the Unix epoch.
CREATE SCHEMA im;

-- fillfactor: every batch updates the counters. Free space on the page, and no index on a changing
-- column, keep these updates HOT.
CREATE TABLE im.conversation (
  conversation_id bigint PRIMARY KEY,
  -- lucky.message.v1.ConversationKind
  kind            smallint NOT NULL,
  name            text NOT NULL DEFAULT '',
  owner_id        bigint NOT NULL DEFAULT 0,
  member_count    integer NOT NULL,
  -- Increases with every change of members, roles or mutes; reveals stale cached member lists.
  member_version  bigint NOT NULL DEFAULT 1,
  last_sequence   bigint NOT NULL DEFAULT 0,
  -- Running number of the entries that count as unread (all but tips).
  last_countable  bigint NOT NULL DEFAULT 0,
  created_at_ms   bigint NOT NULL,
  updated_at_ms   bigint NOT NULL
) WITH (fillfactor = 60);

-- The direct conversation of a pair of users; never changes.
CREATE TABLE im.direct (
  low_user_id     bigint NOT NULL,
  high_user_id    bigint NOT NULL,
  conversation_id bigint NOT NULL REFERENCES im.conversation,
  PRIMARY KEY (low_user_id, high_user_id)
);

-- Deduplicates retries of CreateGroup.
CREATE TABLE im.group_key (
  creator_id      bigint NOT NULL,
  client_group_id text NOT NULL,
  conversation_id bigint NOT NULL REFERENCES im.conversation,
  PRIMARY KEY (creator_id, client_group_id)
);

CREATE TABLE im.member (
  conversation_id    bigint NOT NULL REFERENCES im.conversation,
  user_id            bigint NOT NULL,
  -- kind of the conversation, so that a query for a user's groups skips direct conversations.
  kind               smallint NOT NULL,
  -- lucky.group.v1.Role
  role               smallint NOT NULL DEFAULT 1,
  muted_until_ms     bigint NOT NULL DEFAULT 0,
  -- The first sequence the member may see.
  first_sequence     bigint NOT NULL DEFAULT 1,
  -- 0 while a member; else the last sequence the former member may see.
  left_sequence      bigint NOT NULL DEFAULT 0,
  delivered_sequence bigint NOT NULL DEFAULT 0,
  read_sequence      bigint NOT NULL DEFAULT 0,
  updated_at_ms      bigint NOT NULL,
  PRIMARY KEY (conversation_id, user_id)
) WITH (fillfactor = 70);
CREATE INDEX member_user ON im.member (user_id, conversation_id);
-- The current groups of a user: every session queries them when it starts.
CREATE INDEX member_group ON im.member (user_id, conversation_id)
  WHERE kind = 2 AND left_sequence = 0;

CREATE TABLE im.entry (
  conversation_id   bigint NOT NULL,
  sequence          bigint NOT NULL,
  message_id        bigint NOT NULL,
  sender_id         bigint NOT NULL,
  -- Null for entries written by the server.
  client_message_id text,
  -- Field number of the content's kind in lucky.message.v1.Content.
  kind              smallint NOT NULL,
  -- last_countable of the conversation after this entry.
  countable         bigint NOT NULL,
  accepted_at_ms    bigint NOT NULL,
  -- Encoded lucky.message.v1.Entry without sequence and accepted_at_ms, which a reader appends.
  body              bytea NOT NULL,
  PRIMARY KEY (conversation_id, sequence),
  UNIQUE (conversation_id, sender_id, client_message_id)
);
-- A member's own messages after the read cursor: they do not count as unread.
CREATE INDEX entry_sender ON im.entry (conversation_id, sender_id, sequence);

-- Committed entries that the bus has not confirmed yet: one row per batch, ids only. For each i,
-- conversation_ids[i] has counts[i] new entries after base_sequences[i].
CREATE TABLE im.outbox (
  outbox_id          bigint PRIMARY KEY,
  conversation_ids   bigint[] NOT NULL,
  base_sequences     bigint[] NOT NULL,
  counts             integer[] NOT NULL,
  created_at_ms      bigint NOT NULL,
  attempts           integer NOT NULL DEFAULT 0,
  -- When the outbox retries the row, unless it was deleted by then. Null: FAILED, for an operator.
  next_attempt_at_ms bigint
);
ALTER TABLE im.outbox
  ALTER COLUMN conversation_ids SET STORAGE EXTERNAL,
  ALTER COLUMN base_sequences SET STORAGE EXTERNAL,
  ALTER COLUMN counts SET STORAGE EXTERNAL;
CREATE INDEX outbox_next ON im.outbox (next_attempt_at_ms);
-- Rows are short-lived: vacuum after a fixed number of dead rows, not after a share of the table.
ALTER TABLE im.outbox SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
