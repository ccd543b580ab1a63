-- What came before what, whatever the wall clock says.

-- Which flows a consent ends: those of its connection, taken before it.
ALTER TABLE flows ADD COLUMN connection TEXT NOT NULL DEFAULT '';
ALTER TABLE flows ADD COLUMN after_revocation INTEGER NOT NULL DEFAULT 0;
UPDATE flows SET connection = body ->> '$.connection';
CREATE INDEX flows_of_connection ON flows (connection, used_at);

-- When a send was begun, counted from boot.
ALTER TABLE grants ADD COLUMN intent_boot_ms INTEGER;
