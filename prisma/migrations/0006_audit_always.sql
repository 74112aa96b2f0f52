-- Up Migration

-- The trigger also fires when the session disables triggers (session_replication_role = replica).
ALTER TABLE auth.audit ENABLE ALWAYS TRIGGER audit_append_only;
