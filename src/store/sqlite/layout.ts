/**
 * The nodes of a user that have sent something, without those of guests: what a handshake tells of. Most
 * devices of some apps only read, and none of them may cost the others a look. By a column that is set once:
 * with max_sequence in it every commit would change the index.
 */
const INDEX_OF_WRITERS =
  'CREATE INDEX _kora_nodes_user ON _kora_nodes (user_id) WHERE has_written = 1 AND instr(node_id, char(31)) = 0'

/** The rows of a record beside the one that it is named after; with `seq`, as every index. */
const INDEX_OF_RECORDS =
  'CREATE INDEX _kora_operations_record ON _kora_operations (record) WHERE record <> seq'

/** seq: of the first of `count` entries that follow each other, in the log and by their sequence numbers */
const NODE_RUNS = `CREATE TABLE _kora_node_runs (
    node INTEGER NOT NULL,
    sequence_number INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (node, sequence_number, seq)
  ) WITHOUT ROWID`

/**
 * The layout of the internal tables. A release reads the layouts up to its own and refuses newer
 * ones; each change of it comes with a step that brings an older file up to date.
 */
export const LAYOUT_VERSION = 6

/**
 * What brings a database to a layout from the one before it.
 *
 *   2  A record takes the number of its first row of the log, which is then found by it and stays out
 *      of the index; and the state of one that was inserted and not changed since is not stored.
 *   3  The indexes of scopes and of nodes hold runs of entries.
 *   4  The index of users holds only nodes that have written.
 *   5  A reference to a blob names an author only where that was proved; of those there were it was not.
 *   6  It is known when content was sent last; what there was counts as sent long ago.
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
 * What costs in SQLite is a random key in an index. So the log is keyed by delivery sequence, to
 * which rows are only ever added at the end; an operation is found by 52 bits of its id (not unique:
 * the id in the JSON is compared), whose index is written in bulk (see operation-ids.ts); nodes,
 * collections and records go by small numbers; and a record id that is a UUID takes 16 bytes.
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

  // id: seq of the record's first row (of records from layout 1, a lower number); record_id: 16 bytes for a
  // UUID in lower case, else text; state: empty while the record is as its one insert has left it
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

  // What is known of operations that were dropped: see store/compaction. is_purged: with their record
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
  // seq: of the first of `count` entries that follow each other
  `CREATE TABLE _kora_scope (
    field INTEGER NOT NULL,
    key TEXT NOT NULL,
    seq INTEGER NOT NULL,
    count INTEGER NOT NULL DEFAULT 1,
    PRIMARY KEY (field, key, seq)
  ) WITHOUT ROWID`,

  // what became of writes with a key; result: see write-results.ts
  'CREATE TABLE _kora_write_results (key BLOB PRIMARY KEY, result TEXT NOT NULL) WITHOUT ROWID',

  // kind: user, device or all; versions are never given twice, so that servers can ask for later ones
  `CREATE TABLE _kora_revocations (
    version INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    value TEXT NOT NULL,
    revoked_at INTEGER NOT NULL,
    UNIQUE (kind, value)
  )`,

  // node: of the entry of the vector that is the author's; 0: nobody has proved to be it
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
  // sent_at: last, ms since the epoch
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
