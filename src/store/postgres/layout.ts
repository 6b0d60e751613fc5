/**
 * The layout of the internal tables. A release reads layouts up to its own and refuses newer ones. Servers of two
 * releases share the tables during a rolling update, so a new layout may only add.
 */
export const LAYOUT_VERSION = 1

/**
 * The layout is like that of the SQLite store, for the same reason: the log is keyed by delivery sequence, and
 * everything else by small numbers. It differs where there are many writers: the numbers that a commit takes are in
 * one row, which is locked late in its transaction. Only the holder of that lock is about to commit, so delivery
 * order is commit order.
 *
 * Texts that must be returned unchanged are of type text, never jsonb; names compare by their bytes.
 */
export const LAYOUT_STATEMENTS = [
  'CREATE TABLE {meta} (key text COLLATE "C" PRIMARY KEY, value text NOT NULL)',

  // A page for the row and its next versions, so that an update never touches an index.
  // epoch: another number whenever the tables have changed in a way that affects servers' memory, see settings.ts
  `CREATE TABLE {counters} (
    id integer PRIMARY KEY CHECK (id = 1),
    delivery_sequence bigint NOT NULL DEFAULT 0,
    server_sequence bigint NOT NULL DEFAULT 0,
    operation_count bigint NOT NULL DEFAULT 0,
    last_record bigint NOT NULL DEFAULT 0,
    epoch bigint NOT NULL DEFAULT 0
  ) WITH (fillfactor = 10)`,
  'INSERT INTO {counters} (id) VALUES (1)',

  // view_key: the `scopeEra` of a registration
  `CREATE TABLE {nodes} (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    node_id text COLLATE "C" NOT NULL UNIQUE,
    max_sequence bigint NOT NULL DEFAULT 0,
    user_id text COLLATE "C",
    view_key text,
    legacy_position bigint NOT NULL DEFAULT 0
  ) WITH (fillfactor = 80)`,
  // For servers of the first release; later ones use the index among the additions.
  'CREATE INDEX ON {nodes} USING hash (user_id)',

  `CREATE TABLE {collections} (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE
  )`,

  // record_id: see record-id.ts
  `CREATE TABLE {records} (
    id bigint PRIMARY KEY,
    collection integer NOT NULL,
    record_id bytea NOT NULL,
    state text NOT NULL,
    UNIQUE (collection, record_id)
  ) WITH (fillfactor = 90)`,

  // seq: delivery sequence; kind: 0 operation, 1 snapshot; scope: see scope-changes.ts
  `CREATE TABLE {operations} (
    seq bigint PRIMARY KEY,
    wall_time bigint NOT NULL,
    sequence_number bigint NOT NULL,
    node bigint NOT NULL,
    record bigint NOT NULL,
    collection integer NOT NULL,
    kind smallint NOT NULL,
    id bytea NOT NULL,
    scope text,
    wire_json text NOT NULL
  )`,
  // The final check for duplicates, whatever two servers do at the same time. Snapshots may repeat.
  'CREATE UNIQUE INDEX ON {operations} (id) WHERE kind = 0',
  'CREATE INDEX ON {operations} (id) WHERE kind = 1',
  'CREATE INDEX ON {operations} (node, sequence_number)',
  'CREATE INDEX ON {operations} (record, seq)',

  // Notes of dropped operations: see store/compaction. is_purged: dropped with their record
  `CREATE TABLE {dropped} (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    node bigint NOT NULL,
    sequence_number bigint NOT NULL,
    record bigint NOT NULL,
    wall_time bigint NOT NULL,
    logical integer NOT NULL,
    is_purged boolean NOT NULL,
    id bytea NOT NULL UNIQUE
  )`,
  'CREATE INDEX ON {dropped} (record)',
  'CREATE INDEX ON {dropped} (node, sequence_number)',

  `CREATE TABLE {tracked} (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    collection integer NOT NULL,
    field text COLLATE "C",
    is_granted boolean NOT NULL,
    is_ready boolean NOT NULL,
    tracked_after bigint NOT NULL,
    indexed_through bigint NOT NULL DEFAULT 0
  )`,
  `CREATE TABLE {scope} (
    field integer NOT NULL,
    key text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    PRIMARY KEY (field, key, seq)
  )`,

  'CREATE TABLE {write_results} (key bytea PRIMARY KEY, result text NOT NULL)',

  // kind: user, device or all; versions become readable in their order, see postgres-revocations.ts
  `CREATE TABLE {revocations} (
    version bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text COLLATE "C" NOT NULL,
    value text COLLATE "C" NOT NULL,
    revoked_at bigint NOT NULL,
    UNIQUE (kind, value)
  )`,

  `CREATE TABLE {blob_refs} (
    hash bytea NOT NULL,
    collection text COLLATE "C" NOT NULL,
    record_id text COLLATE "C" NOT NULL,
    node bigint NOT NULL,
    PRIMARY KEY (hash, collection, record_id)
  )`,
  `CREATE TABLE {blob_chunks} (
    chunk bytea NOT NULL,
    manifest bytea NOT NULL,
    PRIMARY KEY (chunk, manifest)
  )`,
  `CREATE TABLE {blob_uploads} (
    hash bytea NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    byte_length bigint NOT NULL,
    PRIMARY KEY (hash, user_id)
  )`,
  'CREATE INDEX ON {blob_uploads} (user_id)',
  `CREATE TABLE {blob_holders} (
    hash bytea NOT NULL,
    holder text COLLATE "C" NOT NULL,
    PRIMARY KEY (hash, holder)
  )`,

  // The servers on this database. A row that is not renewed in time belongs to a dead server.
  `CREATE TABLE {servers} (
    id text COLLATE "C" PRIMARY KEY,
    schema_version integer,
    seen_at timestamptz NOT NULL
  )`,
]

/**
 * Additions of later releases to that layout, in order. A server of an earlier release must be able to run beside
 * them, and to start again; and no addition may lock the tables for longer than a scan of them takes.
 */
export const LAYOUT_ADDITIONS: readonly (readonly string[])[] = [
  // The nodes of a user that have sent something, without those of guests, for handshakes. In some apps most
  // devices only read, and handshakes of others must not have to skip those. A column of its own, because with
  // max_sequence in an index every commit would change it; a hash index, because user ids have no bound that a
  // btree could hold. It is false for a node for which only earlier releases have stored anything: a handshake then
  // leaves it out, unless it asks for it, and no client relies on more.
  [
    'ALTER TABLE {nodes} ADD COLUMN has_written boolean NOT NULL DEFAULT false',
    'CREATE INDEX ON {nodes} USING hash (user_id) WHERE has_written',
    'CREATE INDEX ON {nodes} (id) WHERE user_id IS NULL AND has_written AND strpos(node_id, chr(31)) = 0',
    'ANALYZE {nodes}', // without statistics, half of the rows would be taken to be true
  ],
  // Whether the author of a reference to a blob has proved the identity of its node. False in rows of earlier
  // releases.
  ['ALTER TABLE {blob_refs} ADD COLUMN is_proven boolean NOT NULL DEFAULT false'],
  // When content was last sent, ms since the epoch: content that is sent again during its deletion stays known.
  // Rows of earlier releases count as sent long ago.
  [
    'ALTER TABLE {blob_uploads} ADD COLUMN sent_at bigint NOT NULL DEFAULT 0',
    'ALTER TABLE {blob_holders} ADD COLUMN sent_at bigint NOT NULL DEFAULT 0',
  ],
]

/** The names of all tables that these statements create. */
export const INTERNAL_TABLES: readonly string[] = [...LAYOUT_STATEMENTS, ...LAYOUT_ADDITIONS.flat()].flatMap(
  (statement) => {
    const name = /^CREATE TABLE \{(\w+)\}/.exec(statement)?.[1]
    return name === undefined ? [] : [`_kora_${name}`]
  },
)
