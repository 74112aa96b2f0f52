-- Up Migration

-- As in 0015.
SET LOCAL lock_timeout = '2s';

-- Messages can be changed: each change that all members see is an entry of the log. An older version of
-- server that still runs never writes these tables, and shows changes as kinds that it does not know.

-- One row for each entry that is a change. shown_sequence is the last message or tip before it; 0: none.
-- With it a reader skips a run of changes in one step. It is not a column of im.entry, because every
-- message would pay for it.
CREATE TABLE im.change (
  conversation_id bigint NOT NULL,
  sequence        bigint NOT NULL,
  shown_sequence  bigint NOT NULL,
  PRIMARY KEY (conversation_id, sequence)
);

-- One row for each message that was ever changed. state is an encoded lucky.message.v1.MessageState
-- without the fields of one user, which a reader adds to the entry.
CREATE TABLE im.message_state (
  conversation_id  bigint NOT NULL,
  sequence         bigint NOT NULL,
  -- Sequence of the last entry that changed it.
  changed_sequence bigint NOT NULL,
  recalled         boolean NOT NULL DEFAULT false,
  edits            smallint NOT NULL DEFAULT 0,
  -- Sequence of the entry that pinned it; 0: not pinned.
  pinned_sequence  bigint NOT NULL DEFAULT 0,
  state            bytea NOT NULL,
  PRIMARY KEY (conversation_id, sequence)
);
-- The sequence is only included: otherwise look-ups by key could be planned on this index.
CREATE INDEX message_state_changed ON im.message_state (conversation_id, changed_sequence) INCLUDE (sequence);
CREATE INDEX message_state_pinned ON im.message_state (conversation_id, pinned_sequence)
  WHERE pinned_sequence > 0;

-- Earlier versions of edited messages. Version 0 is what was sent. A recall empties the bodies.
CREATE TABLE im.revision (
  conversation_id bigint NOT NULL,
  sequence        bigint NOT NULL,
  revision        smallint NOT NULL,
  -- Sequence of the edit that replaced this version.
  edit_sequence   bigint NOT NULL,
  -- When this version was written.
  at_ms           bigint NOT NULL,
  -- As im.entry.body.
  body            bytea NOT NULL,
  PRIMARY KEY (conversation_id, sequence, revision)
);

CREATE TABLE im.reaction (
  conversation_id  bigint NOT NULL,
  sequence         bigint NOT NULL,
  user_id          bigint NOT NULL,
  emoji            text COLLATE "C" NOT NULL,
  -- Sequence of the entry that added it.
  changed_sequence bigint NOT NULL,
  PRIMARY KEY (conversation_id, sequence, user_id, emoji)
);
CREATE INDEX reaction_latest ON im.reaction (conversation_id, sequence, changed_sequence);
CREATE INDEX reaction_emoji ON im.reaction (conversation_id, sequence, emoji, changed_sequence);

-- Recalled messages that had counted as unread.
CREATE TABLE im.withdrawn (
  conversation_id bigint NOT NULL,
  sequence        bigint NOT NULL,
  sender_id       bigint NOT NULL,
  PRIMARY KEY (conversation_id, sequence)
);

-- Mentions of a user other than the sender; user 0: of all members.
CREATE TABLE im.mention (
  conversation_id bigint NOT NULL,
  user_id         bigint NOT NULL,
  sequence        bigint NOT NULL,
  sender_id       bigint NOT NULL,
  PRIMARY KEY (conversation_id, user_id, sequence)
);
-- An edit and a recall remove the mentions of a message.
CREATE INDEX mention_message ON im.mention (conversation_id, sequence);

-- Messages that a user deleted for themselves. counted: it counts as unread, and another user sent it.
CREATE TABLE im.hidden (
  conversation_id bigint NOT NULL,
  user_id         bigint NOT NULL,
  sequence        bigint NOT NULL,
  counted         boolean NOT NULL,
  PRIMARY KEY (conversation_id, user_id, sequence)
);
