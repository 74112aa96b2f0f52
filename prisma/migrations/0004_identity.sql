-- Up Migration

-- Accounts: states, roles, phone, profile. Personal columns (phone, birthday, location, answer) are
-- encrypted with AES-256-GCM: id of the data key, nonce, ciphertext, tag; see
-- services/auth/keys/column-encryption.ts.
ALTER TABLE auth.account DROP CONSTRAINT account_role_check;
ALTER TABLE auth.account
  ADD CONSTRAINT account_role_check CHECK (role IN ('user', 'bot', 'operator', 'admin')),
  -- Null: the account logs in by phone only, or is deleted.
  ALTER COLUMN password_hash DROP NOT NULL,
  ADD COLUMN state text NOT NULL DEFAULT 'active'
    CHECK (state IN ('active', 'disabled', 'deleted')),
  ADD COLUMN state_changed_at timestamptz(3),
  ADD COLUMN password_changed_at timestamptz(3),
  -- E.164, encrypted.
  ADD COLUMN phone bytea,
  -- Blind index of phone, for look-ups and uniqueness: id of the index key, HMAC-SHA256.
  ADD COLUMN phone_index bytea UNIQUE,
  ADD COLUMN avatar text NOT NULL DEFAULT '',
  -- lucky.user.v1.Gender
  ADD COLUMN gender smallint NOT NULL DEFAULT 0,
  -- YYYY-MM-DD, encrypted.
  ADD COLUMN birthday bytea,
  -- Encrypted.
  ADD COLUMN location bytea,
  ADD COLUMN signature text NOT NULL DEFAULT '',
  -- lucky.user.v1.WhoMayAddMe
  ADD COLUMN who_may_add_me smallint NOT NULL DEFAULT 1,
  ADD COLUMN add_question text NOT NULL DEFAULT '',
  -- Encrypted.
  ADD COLUMN add_answer bytea,
  ADD COLUMN searchable_by_name boolean NOT NULL DEFAULT true,
  ADD COLUMN searchable_by_phone boolean NOT NULL DEFAULT false,
  ADD COLUMN show_birthday boolean NOT NULL DEFAULT false,
  ADD COLUMN show_location boolean NOT NULL DEFAULT false;
-- Search by the prefix of a name, as a range in bytewise order ("C").
CREATE INDEX account_name_prefix ON auth.account (user_name_key COLLATE "C", user_id)
  WHERE state = 'active';
-- The few accounts with a role other than user.
CREATE INDEX account_role ON auth.account (role) WHERE role <> 'user';

-- Shapes of taken names: a name with the same shape is confusable with the taken one. Computed by
-- shapesOf in services/auth/accounts/names.ts.
CREATE TABLE auth.name_shape (
  shape   text PRIMARY KEY,
  user_id bigint NOT NULL REFERENCES auth.account ON DELETE CASCADE
);
CREATE INDEX name_shape_user ON auth.name_shape (user_id);

-- Logins: where and when the device was last seen, and how it was authenticated.
ALTER TABLE auth.login
  -- Shortened: 203.0.113.0/24 or 2001:db8:1::/48; empty when unknown.
  ADD COLUMN coarse_address text NOT NULL DEFAULT '',
  ADD COLUMN last_seen_at timestamptz(3) NOT NULL DEFAULT now(),
  ADD COLUMN method text NOT NULL DEFAULT 'password'
    CHECK (method IN ('password', 'sms', 'qr')),
  -- Why it was revoked; null while it was not, or when the reason is unknown.
  ADD COLUMN revoked_reason text CHECK (revoked_reason IN (
    'logout', 'reuse', 'replaced', 'device', 'password', 'disabled', 'role', 'forced', 'deleted'));

-- Refresh tokens: the successor, to distinguish a retry after a lost answer from theft.
ALTER TABLE auth.refresh_token
  -- SHA-256 of the successor.
  ADD COLUMN successor_hash bytea;

-- Keys: more purposes, and their times. 'data': encrypts columns (AES-256). 'index': blind indexes
-- (HMAC-SHA256). 'code': codes and nonces (HMAC-SHA256). Symmetric ones have no public half.
ALTER TABLE auth.key DROP CONSTRAINT key_purpose_check;
ALTER TABLE auth.key
  ADD CONSTRAINT key_purpose_check
    CHECK (purpose IN ('access', 'password', 'data', 'index', 'code')),
  ALTER COLUMN public_key DROP NOT NULL,
  -- From this time it signs, encrypts or is handed out; before, it is only published and accepted.
  ADD COLUMN active_at timestamptz(3) NOT NULL DEFAULT now(),
  -- Not null: no stored value depends on it since this time; its row is deleted later.
  ADD COLUMN retired_at timestamptz(3);

-- Codes sent by SMS. Neither the number nor the code is stored.
CREATE TABLE auth.sms_code (
  sms_code_id uuid PRIMARY KEY,
  -- Blind index of the number, as in auth.account.
  phone_index bytea NOT NULL,
  -- lucky.auth.v1.SmsPurpose
  purpose     smallint NOT NULL,
  -- The account of a code of purpose BIND or PROVE; null for other purposes.
  user_id     bigint,
  -- Id of the code key, then HMAC-SHA256 of id, number, purpose, user and code.
  code_hash   bytea NOT NULL,
  -- Wrong guesses so far.
  attempts    smallint NOT NULL DEFAULT 0,
  created_at  timestamptz(3) NOT NULL,
  expires_at  timestamptz(3) NOT NULL,
  -- Not null: used, or replaced by a newer code.
  used_at     timestamptz(3)
);
CREATE INDEX sms_code_phone ON auth.sms_code (phone_index, purpose, created_at);
CREATE INDEX sms_code_expiry ON auth.sms_code (expires_at);

-- Used nonces of password ciphertexts, to refuse replays. Rows are deleted after they expire.
CREATE TABLE auth.used_nonce (
  nonce_hash bytea PRIMARY KEY,
  expires_at timestamptz(3) NOT NULL
);
CREATE INDEX used_nonce_expiry ON auth.used_nonce (expires_at);

-- Logins by QR code.
CREATE TABLE auth.qr_login (
  -- SHA-256 of the id in the code.
  qr_login_hash  bytea PRIMARY KEY,
  -- SHA-256 of the requesting device's secret.
  secret_hash    bytea NOT NULL,
  device_id      text NOT NULL,
  device_class   smallint NOT NULL,
  device_name    text NOT NULL,
  client_version text NOT NULL,
  coarse_address text NOT NULL,
  state          text NOT NULL DEFAULT 'waiting'
    CHECK (state IN ('waiting', 'scanned', 'confirmed', 'refused', 'delivered')),
  -- The user who scanned the code, and the login of the phone.
  user_id        bigint REFERENCES auth.account,
  scanner_login  uuid,
  created_at     timestamptz(3) NOT NULL,
  expires_at     timestamptz(3) NOT NULL,
  CHECK ((state = 'waiting') = (user_id IS NULL))
);
CREATE INDEX qr_login_expiry ON auth.qr_login (expires_at);

-- The device policy set by an administrator. Without rows, the configured policy applies.
CREATE TABLE auth.device_rule (
  -- lucky.auth.v1.DeviceClass
  device_class smallint PRIMARY KEY,
  max_devices  integer NOT NULL CHECK (max_devices BETWEEN 0 AND 1000),
  -- lucky.auth.v1.DeviceExcess
  excess       smallint NOT NULL
);

-- The audit log of operators and administrators. Rows are inserted and never changed.
CREATE TABLE auth.audit (
  audit_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  -- 0: the configuration. There are no foreign keys: audit rows outlive their accounts.
  actor_id       bigint NOT NULL,
  -- lucky.admin.v1.AuditAction
  action         smallint NOT NULL,
  user_id        bigint NOT NULL,
  detail         text NOT NULL,
  reason         text NOT NULL,
  coarse_address text NOT NULL,
  at             timestamptz(3) NOT NULL
);
CREATE INDEX audit_user ON auth.audit (user_id, audit_id);
CREATE INDEX audit_actor ON auth.audit (actor_id, audit_id);

-- Applies to every role, also to the table's owner. Only the owner can drop the trigger.
CREATE FUNCTION auth.audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'auth.audit is append-only' USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON auth.audit
  FOR EACH STATEMENT EXECUTE FUNCTION auth.audit_is_append_only();
