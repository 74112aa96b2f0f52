-- Up Migration

-- A login by QR code ends with the login that confirmed it, until its user keeps it by the password.
ALTER TABLE auth.login
  -- The login that confirmed this one; null: this one depends on no other. There is no foreign key:
  -- the id of a deleted login stays, because that login has ended.
  ADD COLUMN confirmed_by uuid;
CREATE INDEX login_confirmed_by ON auth.login (confirmed_by) WHERE confirmed_by IS NOT NULL;

-- Adds the reason 'confirmer': the login that confirmed this one has ended.
ALTER TABLE auth.login DROP CONSTRAINT login_revoked_reason_check;
ALTER TABLE auth.login ADD CONSTRAINT login_revoked_reason_check CHECK (revoked_reason IN (
  'logout', 'reuse', 'replaced', 'device', 'password', 'phone', 'disabled', 'role', 'forced',
  'deleted', 'confirmer'));
