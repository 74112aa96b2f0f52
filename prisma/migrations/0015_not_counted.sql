-- Up Migration

-- Entry.not_counted (field 17) is true for tips. Those that were written before the field existed get
-- it: the fields of a message may come in any order.
UPDATE im.entry SET body = body || '\x880101'::bytea WHERE kind = 11;
