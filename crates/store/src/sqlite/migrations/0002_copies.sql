-- When this store was last taken over as a copy: what was obtained before may have been replaced at
-- the original since.
ALTER TABLE store ADD COLUMN taken_over_at INTEGER;
