-- Up Migration

-- Also where triggers are switched off for the session (session_replication_role = replica).
ALTER TABLE auth.audit ENABLE ALWAYS TRIGGER audit_append_only;
