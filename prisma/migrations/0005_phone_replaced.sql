-- Up Migration

-- Adds the reason 'phone': replacing a number ends the logins that it may have authenticated.
ALTER TABLE auth.login DROP CONSTRAINT login_revoked_reason_check;
ALTER TABLE auth.login ADD CONSTRAINT login_revoked_reason_check CHECK (revoked_reason IN (
  'logout', 'reuse', 'replaced', 'device', 'password', 'phone', 'disabled', 'role', 'forced',
  'deleted'));
