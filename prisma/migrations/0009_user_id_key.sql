-- Up Migration

-- 'userId': the key of the permutation that makes ids of new users (AES-256 in FF1). Never rotated.
ALTER TABLE auth.key DROP CONSTRAINT key_purpose_check;
ALTER TABLE auth.key ADD CONSTRAINT key_purpose_check
  CHECK (purpose IN ('access', 'password', 'data', 'index', 'code', 'userId'));
