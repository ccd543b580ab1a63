-- All that can't be added later. Hot columns (lease, intent, due time) stand apart from what is big
-- (sealed tokens): a claim or an intent then rewrites a few full pages, not one per grant.
-- Times are Unix milliseconds; `lease_until` and `intent_boot_ms` count from boot.

CREATE TABLE store (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  id TEXT NOT NULL,
  place TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  change_number INTEGER NOT NULL,
  flows_taken INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE data_keys (
  id INTEGER PRIMARY KEY,
  wrapped BLOB NOT NULL,
  created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE clients (
  id TEXT PRIMARY KEY,
  revision INTEGER NOT NULL,
  body TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- `n` is the secret version.
CREATE TABLE client_secrets (
  client TEXT NOT NULL,
  n INTEGER NOT NULL,
  data_key INTEGER NOT NULL,
  sealed BLOB NOT NULL,
  PRIMARY KEY (client, n)
) STRICT, WITHOUT ROWID;

-- `taken_no` counts the flows of this store that were taken, whatever the clock said; 0 until then.
CREATE TABLE flows (
  state_hash TEXT PRIMARY KEY,
  client TEXT NOT NULL,
  connection TEXT NOT NULL,
  expires_at INTEGER NOT NULL,
  taken_no INTEGER NOT NULL,
  used_at INTEGER,
  journal TEXT,
  revoked INTEGER NOT NULL,
  data_key INTEGER NOT NULL,
  sealed BLOB NOT NULL,
  body TEXT NOT NULL
) STRICT;
CREATE INDEX flows_of_client ON flows (client);
CREATE INDEX flows_of_connection ON flows (connection, taken_no);
CREATE INDEX flows_by_end ON flows (expires_at);

-- `lease_no` counts claims and never falls; there is a lease while `lease_holder` is set.
-- `consent_no` is the `taken_no` of its newest consent; 0 where it came of no flow.
CREATE TABLE grants (
  no INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  client TEXT NOT NULL,
  account_id TEXT,
  life TEXT NOT NULL,
  rotation_owner TEXT NOT NULL,
  version INTEGER NOT NULL,
  consent_no INTEGER NOT NULL,
  next_at INTEGER,
  lease_no INTEGER NOT NULL,
  lease_holder TEXT,
  lease_until INTEGER,
  intent_at INTEGER,
  intent_version INTEGER,
  intent_fingerprint BLOB,
  intent_journal TEXT,
  intent_lease_no INTEGER,
  intent_sends INTEGER,
  intent_boot_ms INTEGER
) STRICT;
-- A claim moves a grant from the first to the second: due work never walks over what is in work. The
-- first ends with a column that is always NULL there: with it the index alone answers.
CREATE INDEX grants_due ON grants (next_at, id, lease_holder)
  WHERE lease_holder IS NULL AND next_at IS NOT NULL;
CREATE INDEX grants_leased ON grants (next_at, id)
  WHERE lease_holder IS NOT NULL AND next_at IS NOT NULL;
CREATE INDEX grants_spending ON grants (id) WHERE intent_at IS NOT NULL;
CREATE INDEX grants_of_account ON grants (client, account_id) WHERE account_id IS NOT NULL;

CREATE TABLE token_sets (
  no INTEGER PRIMARY KEY,
  data_key INTEGER NOT NULL,
  sealed BLOB NOT NULL,
  flow TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  inputs TEXT NOT NULL,
  account_name TEXT,
  asked TEXT NOT NULL,
  expiry TEXT NOT NULL,
  expires_at INTEGER,
  obtained_at INTEGER NOT NULL,
  granted TEXT,
  access BLOB NOT NULL,
  refresh BLOB,
  refresh_since INTEGER,
  refresh_expires_at INTEGER,
  rotated INTEGER NOT NULL,
  rejected INTEGER NOT NULL,
  secret_n INTEGER,
  state TEXT,
  history BLOB NOT NULL
) STRICT;
-- `history`: of tokens that were replaced, the first 8 bytes of each fingerprint, latest first. It
-- stands in the row that a refresh writes anyway: an index of fingerprints, which fall anywhere,
-- would cost more pages than all else that a refresh writes, and only a leak ever asks for it. A
-- refresh token that stays may come again with another consent, so that one is found at once.
CREATE INDEX token_sets_kept ON token_sets (refresh) WHERE refresh IS NOT NULL AND NOT rotated;

CREATE TABLE connections (
  id TEXT PRIMARY KEY,
  client TEXT NOT NULL,
  grant_no INTEGER NOT NULL,
  labels TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX connections_of_client ON connections (client, id);
CREATE INDEX connections_of_grant ON connections (grant_no, id);

CREATE TABLE labels (
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  connection TEXT NOT NULL,
  PRIMARY KEY (key, value, connection)
) STRICT, WITHOUT ROWID;

CREATE TABLE revocations (
  id TEXT PRIMARY KEY,
  revision INTEGER NOT NULL,
  next_at INTEGER,
  body TEXT NOT NULL
) STRICT;
CREATE INDEX revocations_due ON revocations (next_at, id) WHERE next_at IS NOT NULL;

-- The sealed tokens of its calls, and of the probe that proves them dead.
CREATE TABLE revocation_items (
  revocation TEXT NOT NULL,
  n INTEGER NOT NULL,
  grant_id TEXT NOT NULL,
  data_key INTEGER,
  sealed BLOB,
  probe_data_key INTEGER,
  probe_sealed BLOB,
  PRIMARY KEY (revocation, n)
) STRICT, WITHOUT ROWID;
CREATE INDEX revocation_items_of_grant ON revocation_items (grant_id);

CREATE TABLE events (
  seq INTEGER PRIMARY KEY,
  hash BLOB NOT NULL,
  body TEXT NOT NULL
) STRICT;
