-- Up Migration

-- The start of a session reads its groups with the first sequence that the user may see in each of them,
-- from this index alone. Changes of members and cursors wait while it is built: about a second for a
-- million memberships.
DROP INDEX im.member_group;
CREATE INDEX member_group ON im.member (user_id, conversation_id) INCLUDE (first_sequence)
  WHERE kind = 2 AND left_sequence = 0;
