-- Up Migration

-- Notices of security events, which their users list for 30 days.
CREATE TABLE auth.security_notice (
  notice_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  user_id        bigint NOT NULL REFERENCES auth.account,
  -- lucky.frame.v1.SecurityNoticeKind
  kind           smallint NOT NULL,
  -- The device concerned, as its login named it at that time; empty for none.
  device_id      text NOT NULL,
  device_name    text NOT NULL,
  -- Shortened as in auth.login; empty when unknown.
  coarse_address text NOT NULL,
  -- lucky.frame.v1.LoginMethod; 0 when the event is not a login.
  login_method   smallint NOT NULL,
  at             timestamptz(3) NOT NULL
);
CREATE INDEX security_notice_user ON auth.security_notice (user_id, notice_id);
CREATE INDEX security_notice_at ON auth.security_notice (at);
