-- Up Migration

-- Owned by auth: accounts, logins, keys.
CREATE SCHEMA auth;

CREATE TABLE auth.account (
  user_id       bigint PRIMARY KEY,
  user_name     text NOT NULL,
  -- user_name, normalised (NFKC) and case-folded: the unique key.
  user_name_key text NOT NULL UNIQUE,
  display_name  text NOT NULL,
  -- Argon2id in PHC format.
  password_hash text NOT NULL,
  role          text NOT NULL DEFAULT 'user' CHECK (role IN ('user', 'admin')),
  created_at    timestamptz(3) NOT NULL DEFAULT now()
);

-- One login of one device: the family of its refresh tokens.
CREATE TABLE auth.login (
  login_id          uuid PRIMARY KEY,
  user_id           bigint NOT NULL REFERENCES auth.account,
  device_id         text NOT NULL,
  device_class      smallint NOT NULL,
  device_name       text NOT NULL,
  client_version    text NOT NULL,
  created_at        timestamptz(3) NOT NULL,
  last_refreshed_at timestamptz(3) NOT NULL,
  -- When the last access token of the login expires.
  access_expires_at timestamptz(3) NOT NULL,
  -- Not null: revoked, by logout, by reuse of a refresh token or by a newer login of the device.
  revoked_at        timestamptz(3)
);
CREATE INDEX login_user ON auth.login (user_id, device_id);
CREATE INDEX login_revoked ON auth.login (revoked_at) WHERE revoked_at IS NOT NULL;

CREATE TABLE auth.refresh_token (
  -- SHA-256 of the token.
  token_hash bytea PRIMARY KEY,
  login_id   uuid NOT NULL REFERENCES auth.login ON DELETE CASCADE,
  created_at timestamptz(3) NOT NULL,
  expires_at timestamptz(3) NOT NULL,
  -- Not null: exchanged for its successor.
  used_at    timestamptz(3)
);
CREATE INDEX refresh_token_login ON auth.refresh_token (login_id);

-- Keys that all instances of auth share.
CREATE TABLE auth.key (
  key_id      text PRIMARY KEY,
  -- 'access': signs access tokens (Ed25519). 'password': decrypts passwords (RSA).
  purpose     text NOT NULL CHECK (purpose IN ('access', 'password')),
  -- SubjectPublicKeyInfo, DER.
  public_key  bytea NOT NULL,
  -- PKCS#8, DER, encrypted with AES-256-GCM under the key-encryption key: nonce, ciphertext, tag.
  private_key bytea NOT NULL,
  created_at  timestamptz(3) NOT NULL
);
CREATE INDEX key_purpose ON auth.key (purpose, created_at);
