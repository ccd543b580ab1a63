-- Fingerprints fall anywhere in their index, so that each one stored dirties a page: of shorter
-- entries fewer pages hold all. Eight bytes tell any two apart but for a chance in 2^64; the query
-- compares the whole as well.
DROP INDEX token_sets_kept;
CREATE INDEX token_sets_kept ON token_sets (substr(refresh, 1, 8))
  WHERE refresh IS NOT NULL AND NOT rotated;
