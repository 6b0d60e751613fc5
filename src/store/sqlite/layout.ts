/**
 * The nodes of a user that have sent something, without those of guests: the ones that a handshake reports. In some
 * apps most devices only read, and should not cost the others a look-up. The column is set only once: with
 * max_sequence in the index, every commit would change it.
 */
const INDEX_OF_WRITERS =
  'CREATE INDEX _kora_nodes_user ON _kora_nodes (user_id) WHERE has_written = 1 AND instr(node_id, char(31)) = 0'

/** The rows of a record, except the one whose number it has. Contains `seq`, as does every index. */
const INDEX_OF_RECORDS =
  'CREATE INDEX _kora_operations_record ON _kora_operations (record) WHERE record <> seq'

/** seq: of the first of `count` entries that are consecutive in the log and in their sequence numbers */
const NODE_RUNS = `CREATE TABLE _kora_node_runs (
    node INTEGER NOT NULL,
    sequence_number INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (node, sequence_number, seq)
  ) WITHOUT ROWID`

/**
 * The layout of the internal tables. A release reads layouts up to its own and refuses newer ones; each change of
 * it comes with a step that upgrades an older file.
 */
export const LAYOUT_VERSION = 6

/**
 * The statements that upgrade a database to a layout from the one before.
 *
 *   2  A record has the number of its first row in the log, which is then found by that number and left out
 *      of the index; and no state is stored for a record that was inserted and not changed since.
 *   3  The indexes of scopes and of nodes hold runs of entries.
 *   4  The index of users contains only nodes that have written.
 *   5  A reference to a blob names an author only where that was proved, which for existing ones it was not.
 *   6  The time at which content was last sent is stored; existing content counts as sent long ago.
 */
export const LAYOUT_STEPS: { readonly [layout: number]: readonly string[] } = {
  2: ['DROP INDEX _kora_operations_record', INDEX_OF_RECORDS],
  3: [
    'ALTER TABLE _kora_scope ADD COLUMN count INTEGER NOT NULL DEFAULT 1',
    NODE_RUNS,
    'INSERT INTO _kora_node_runs SELECT node, sequence_number, seq, 1 FROM _kora_operations',
    'DROP INDEX _kora_operations_node',
  ],
  4: [
    'ALTER TABLE _kora_nodes ADD COLUMN has_written INTEGER NOT NULL DEFAULT 0',
    'UPDATE _kora_nodes SET has_written = 1 WHERE max_sequence > 0',
    'DROP INDEX _kora_nodes_user',
    INDEX_OF_WRITERS,
  ],
  5: ['UPDATE _kora_blob_refs SET node = 0'],
  6: [
    'ALTER TABLE _kora_blob_uploads ADD COLUMN sent_at INTEGER NOT NULL DEFAULT 0',
    'ALTER TABLE _kora_blob_holders ADD COLUMN sent_at INTEGER NOT NULL DEFAULT 0',
  ],
}

/**
 * In SQLite, the expensive part is a random key in an index. So the log is keyed by delivery sequence, and rows are
 * only ever added at its end; an operation is found by 52 bits of its id (not unique: the id in the JSON is
 * compared), in an index that is written in bulk (see operation-ids.ts); nodes, collections and records have small
 * numbers; and a record id that is a UUID takes 16 bytes.
 */
export const LAYOUT_STATEMENTS = [
  'CREATE TABLE _kora_meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID',

  // view_key: the `scopeEra` of a registration
  `CREATE TABLE _kora_nodes (
    id INTEGER PRIMARY KEY,
    node_id TEXT NOT NULL UNIQUE,
    max_sequence INTEGER NOT NULL DEFAULT 0,
    user_id TEXT,
    view_key TEXT,
    legacy_position INTEGER NOT NULL DEFAULT 0,
    has_written INTEGER NOT NULL DEFAULT 0
  )`,
  INDEX_OF_WRITERS,

  'CREATE TABLE _kora_collections (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)',

  // id: seq of the record's first row (records from layout 1: a lower number); record_id: 16 bytes for a UUID in
  // lower case, otherwise text; state: empty for a record that was inserted and not changed since
  `CREATE TABLE _kora_records (
    id INTEGER PRIMARY KEY,
    collection INTEGER NOT NULL,
    record_id NOT NULL,
    state TEXT NOT NULL,
    UNIQUE (collection, record_id)
  )`,

  // seq: delivery sequence; kind: 0 operation, 1 snapshot; scope: see scope-changes.ts;
  // checksum: see entry-row.ts
  `CREATE TABLE _kora_operations (
    seq INTEGER PRIMARY KEY,
    node INTEGER NOT NULL,
    sequence_number INTEGER NOT NULL,
    record INTEGER NOT NULL,
    collection INTEGER NOT NULL,
    wall_time INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    scope TEXT,
    wire_json TEXT NOT NULL,
    checksum INTEGER NOT NULL
  )`,
  NODE_RUNS,
  INDEX_OF_RECORDS,
  `CREATE TABLE _kora_operation_ids (
    id_key INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (id_key, seq)
  ) WITHOUT ROWID`,

  // What is known of dropped operations: see store/compaction. is_purged: the record was dropped with them
  `CREATE TABLE _kora_dropped (
    position INTEGER PRIMARY KEY,
    id_key INTEGER NOT NULL,
    id BLOB NOT NULL,
    node INTEGER NOT NULL,
    sequence_number INTEGER NOT NULL,
    record INTEGER NOT NULL,
    wall_time INTEGER NOT NULL,
    logical INTEGER NOT NULL,
    is_purged INTEGER NOT NULL
  )`,
  'CREATE INDEX _kora_dropped_id ON _kora_dropped (id_key)',
  'CREATE INDEX _kora_dropped_record ON _kora_dropped (record)',
  'CREATE INDEX _kora_dropped_node ON _kora_dropped (node, sequence_number)',

  `CREATE TABLE _kora_tracked (
    id INTEGER PRIMARY KEY,
    collection INTEGER NOT NULL,
    field TEXT,
    is_granted INTEGER NOT NULL,
    is_ready INTEGER NOT NULL,
    tracked_after INTEGER NOT NULL,
    indexed_through INTEGER NOT NULL DEFAULT 0
  )`,
  // seq: of the first of `count` consecutive entries
  `CREATE TABLE _kora_scope (
    field INTEGER NOT NULL,
    key TEXT NOT NULL,
    seq INTEGER NOT NULL,
    count INTEGER NOT NULL DEFAULT 1,
    PRIMARY KEY (field, key, seq)
  ) WITHOUT ROWID`,

  // results of writes with an idempotency key; result: see write-results.ts
  'CREATE TABLE _kora_write_results (key BLOB PRIMARY KEY, result TEXT NOT NULL) WITHOUT ROWID',

  // kind: user, device or all; versions are never reused, so that servers can ask for later ones
  `CREATE TABLE _kora_revocations (
    version INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    value TEXT NOT NULL,
    revoked_at INTEGER NOT NULL,
    UNIQUE (kind, value)
  )`,

  // node: the author's, in the version vector; 0: the author is not proved
  `CREATE TABLE _kora_blob_refs (
    hash BLOB NOT NULL,
    collection TEXT NOT NULL,
    record_id TEXT NOT NULL,
    node INTEGER NOT NULL,
    PRIMARY KEY (hash, collection, record_id)
  ) WITHOUT ROWID`,
  `CREATE TABLE _kora_blob_chunks (
    chunk BLOB NOT NULL,
    manifest BLOB NOT NULL,
    PRIMARY KEY (chunk, manifest)
  ) WITHOUT ROWID`,
  // sent_at: when it was last sent, ms since the epoch
  `CREATE TABLE _kora_blob_uploads (
    hash BLOB NOT NULL,
    user_id TEXT NOT NULL,
    byte_length INTEGER NOT NULL,
    sent_at INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (hash, user_id)
  ) WITHOUT ROWID`,
  'CREATE INDEX _kora_blob_uploads_user ON _kora_blob_uploads (user_id, byte_length)',
  `CREATE TABLE _kora_blob_holders (
    hash BLOB NOT NULL,
    holder TEXT NOT NULL,
    sent_at INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (hash, holder)
  ) WITHOUT ROWID`,
]
