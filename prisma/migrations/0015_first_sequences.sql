-- Up Migration

-- A backup may hold a table for long. Without this bound, every statement on it would queue behind the
-- migration; after it, the migration fails and is retried.
SET LOCAL lock_timeout = '2s';

-- The start of a session reads its groups with the first sequence that the user may see in each of them,
-- from this index alone. Changes of members and cursors wait while it is built: about a second for a
-- million memberships. The old index is dropped after that, because reads wait from there on.
CREATE INDEX member_group_first ON im.member (user_id, conversation_id) INCLUDE (first_sequence)
  WHERE kind = 2 AND left_sequence = 0;
DROP INDEX im.member_group;
ALTER INDEX im.member_group_first RENAME TO member_group;
