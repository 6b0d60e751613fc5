import type { Statement } from 'better-sqlite3'
import { compareTimestamps, serializeTimestamp } from '../../core/clock.ts'
import { StoreError } from '../../core/errors.ts'
import type { Timestamp } from '../../core/operation.ts'
import type { Runtime } from '../../core/runtime.ts'
import type { CollectionDefinition, SchemaDefinition } from '../../core/schema/types.ts'
import {
  type FoundRecord,
  type Loaded,
  type LoadRequest,
  type RecordLookup,
  runLoading,
} from '../append/load.ts'
import { type LogCounters, numberEntries } from '../append/number-entries.ts'
import { type AppendContext, type AppendPlan, planAppend } from '../append/plan-append.ts'
import { newestServerStamp, ServerClock } from '../append/server-clock.ts'
import { corruptOnOpening } from '../damage/corrupt.ts'
import { parseServerClock } from '../damage/server-clock.ts'
import { type TrackedField, TrackedFields } from '../delivery/tracked-fields.ts'
import { addFormerNodes, parseFormerNodes, serializeFormerNodes } from '../former-nodes.ts'
import { SchemasInUse } from '../materialize/schemas-in-use.ts'
import type { AppendRequest, AppendResult, ServerWrite } from '../store.ts'
import { CollectionTables } from './collection-tables.ts'
import type { SqliteDatabase } from './driver.ts'
import { KnownLog } from './known-log.ts'
import { MetaTable } from './meta-table.ts'
import { NameTable } from './name-table.ts'
import { NodeRegistry } from './node-registry.ts'
import { SqliteBlobs } from './sqlite-blobs.ts'
import { SqliteLog } from './sqlite-log.ts'
import { SqliteRevocations } from './sqlite-revocations.ts'
import { WriteQueue } from './write-queue.ts'

interface TrackedRow {
  readonly id: number
  readonly collection: number
  readonly field: unknown
  readonly isGranted: number
  readonly isReady: number
}

/** Differs from every `data_version` of SQLite. */
const UNSEEN = -1

/** The tables of one open database, and what is cached of them, for the parts of the store. */
export class SqliteCore implements AppendContext {
  readonly db: SqliteDatabase
  readonly filename: string
  readonly runtime: Runtime
  readonly meta: MetaTable
  readonly nodeNames: NameTable
  readonly collections: NameTable
  readonly nodes: NodeRegistry
  readonly log: SqliteLog
  readonly knownLog: KnownLog
  readonly blobs: SqliteBlobs
  readonly revocations: SqliteRevocations
  readonly writes: WriteQueue
  /** The server's node id, if the application has chosen one. */
  readonly chosenNodeId: string | undefined
  readonly clock: ServerClock
  tracked = new TrackedFields()
  /**
   * This process's own: the one it was given, otherwise the one in the file at opening; with later fields of other
   * schemas.
   */
  ownSchema: SchemaDefinition | null = null
  /** `ownSchema` at the start of the present transaction. */
  #ownSchemaBefore: SchemaDefinition | null = null
  #schema: SchemaDefinition | null = null
  #tables: CollectionTables | null = null
  readonly #schemas = new SchemasInUse()
  #ownTables: { readonly schema: SchemaDefinition; readonly tables: CollectionTables } | null = null
  #serverNodeId: string
  #formerNodeIds: ReadonlySet<string> = new Set()
  /** The highest number that earlier logs may have given to this node id. */
  #serverBase = 0
  /** The layout at opening, which statements and indexes are made for. */
  readonly #layout: string | null
  readonly #dataVersion: Statement<[], number>
  readonly #trackedRows: Statement<[], TrackedRow>
  #seenDataVersion = UNSEEN

  constructor(
    db: SqliteDatabase,
    {
      filename,
      runtime,
      chosenNodeId,
    }: { filename: string; runtime: Runtime; chosenNodeId: string | undefined },
  ) {
    this.db = db
    this.filename = filename
    this.runtime = runtime
    this.meta = new MetaTable(db)
    this.chosenNodeId = chosenNodeId
    this.#serverNodeId = this.#readNodeId()
    this.clock = new ServerClock(this.#serverNodeId, runtime)
    this.nodeNames = new NameTable(db, '_kora_nodes', 'node_id')
    this.collections = new NameTable(db, '_kora_collections', 'name')
    this.nodes = new NodeRegistry(db, this.nodeNames)
    this.log = new SqliteLog(db, { meta: this.meta, nodes: this.nodeNames, collections: this.collections })
    this.knownLog = new KnownLog(filename, this.meta)
    this.blobs = new SqliteBlobs(db, this.nodeNames, this.log)
    this.revocations = new SqliteRevocations(db)
    this.writes = new WriteQueue(db, {
      filename,
      runtime,
      afterBegin: () => this.#onBegin(),
      beforeCommit: () => this.#flush(),
      onRollback: () => this.#onRollback(),
    })
    this.#layout = this.meta.get('layout')
    this.#dataVersion = db.prepare<[], number>('PRAGMA data_version').pluck()
    this.#trackedRows = db.prepare<[], TrackedRow>(
      `SELECT id, collection, field, is_granted AS isGranted, is_ready AS isReady
        FROM _kora_tracked ORDER BY id`,
    )
    this.refreshIfForeign()
    this.ownSchema = this.#schema // read from the file, so without its resolvers
  }

  /** The node that this server writes as: a new one after a restore replaced the log, unless the id was chosen. */
  get serverNodeId(): string {
    return this.#serverNodeId
  }

  get formerNodeIds(): ReadonlySet<string> {
    return this.#formerNodeIds
  }

  isServerNode(nodeId: string): boolean {
    return nodeId === this.#serverNodeId || this.#formerNodeIds.has(nodeId)
  }

  /** The schema that the tables are for: this process's own, or that of another process on the file. */
  get schema(): SchemaDefinition | null {
    return this.#schema
  }

  get tables(): CollectionTables | null {
    return this.#tables
  }

  /** The tables by this process's own schema, whose columns survive the changes of other processes. */
  get ownTables(): CollectionTables | null {
    const schema = this.ownSchema
    if (schema === null || schema === this.#schema) return this.#tables
    if (this.#ownTables?.schema !== schema) {
      this.#ownTables = { schema, tables: new CollectionTables(this.db, schema) }
    }
    return this.#ownTables.tables
  }

  collection(name: string): CollectionDefinition | null {
    if (this.#schema === null || !Object.hasOwn(this.#schema.collections, name)) return null
    return this.#schema.collections[name] ?? null
  }

  trackedFields(collection: string): readonly string[] {
    return this.tracked.namesOf(collection)
  }

  /** Adopts this process's own schema, once its tables exist. If that is in a transaction, a rollback undoes it. */
  useSchema(schema: SchemaDefinition): void {
    this.ownSchema = schema
    this.#takeUpSchema()
  }

  /**
   * Adopts the schema that the tables are for if it has changed, whoever changed it, because rows are written by
   * it. Not an earlier version, though: a command with an old configuration keeps the columns of a running server,
   * which must not adopt its rules.
   */
  #takeUpSchema(): void {
    const stored = { text: this.meta.get('schema'), fingerprint: this.meta.get('schema_fingerprint') }
    const { own, inForce } = this.#schemas.read(stored, this.ownSchema)
    const isEarlier = inForce !== null && own !== null && inForce.version < own.version
    const schema = isEarlier ? own : inForce
    if (schema !== this.#schema) {
      this.#tables = schema === null ? null : new CollectionTables(this.db, schema)
      this.#schema = schema
    }
    this.ownSchema = own
  }

  counters(): LogCounters {
    return {
      deliverySequence: Math.max(this.log.maxSequence(), this.meta.getNumber('delivery_base')),
      serverSequence: Math.max(this.nodes.maxSequenceOf(this.serverNodeId), this.#serverBase),
    }
  }

  /** Plans and writes a batch; inside a write transaction. */
  append(requests: readonly (AppendRequest | ServerWrite)[]): readonly AppendResult[] {
    return this.write(runLoading(planAppend(requests, this), (request) => this.#load(request)))
  }

  #load(request: LoadRequest): Loaded {
    const entries = request.vectorEntries ?? []
    return {
      ...this.log.load(request),
      vector: new Map(entries.map((entry) => [entry, this.nodes.maxSequenceOf(entry)])),
      lookups: (request.lookups ?? []).map((lookup) => this.#find(lookup)),
    }
  }

  #find(lookup: RecordLookup): FoundRecord[] {
    const { collection } = lookup.index
    const ids = this.#tables?.findLive(lookup) ?? []
    return ids.flatMap((recordId) => {
      const record = this.log.records.find({ collection, recordId })
      return record === undefined ? [] : [{ ...record, recordId }] // none: the row is not from this store
    })
  }

  /** Writes a plan; inside a write transaction. */
  write(plan: AppendPlan): readonly AppendResult[] {
    const before = this.counters()
    const { rows, results, counters } = numberEntries(plan, before)
    for (const record of plan.records) {
      this.log.records.update(record)
      if (record.state !== null) this.#tables?.write(record.collection, record.recordId, record.state)
    }
    let operations = 0
    for (const row of rows) {
      this.log.writeRow(row, this.tracked.of(row.entry.collection))
      this.blobs.noteRefs(row)
      if (row.entry.kind === 'operation') operations++
    }
    this.log.ids.settle()
    this.#keepServerClock(plan)
    for (const [key, result] of plan.writeResults ?? []) this.log.writeResults.add(key, result)
    for (const [nodeId, sequenceNumber] of plan.vector) this.nodes.advance(nodeId, sequenceNumber)
    if (counters.serverSequence > before.serverSequence) {
      this.nodes.advance(this.serverNodeId, counters.serverSequence)
    }
    if (operations > 0) this.meta.set('operation_count', this.meta.getNumber('operation_count') + operations)
    this.#flush() // because a restore reads what it wrote in the same transaction
    return results
  }

  /** Size of the database, without its write-ahead log. */
  storageBytes(): number {
    const pages = this.db.pragma('page_count', { simple: true })
    return Number(pages) * Number(this.db.pragma('page_size', { simple: true }))
  }

  /**
   * Adopts what another process has committed: the first step of every transaction, of reads too.
   *
   * @throws StoreError `STORE_NEWER` when it has changed the layout; `STORE_CORRUPT`, each time until it is
   *   readable
   */
  refreshIfForeign(): void {
    const version = this.#readDataVersion()
    if (version === this.#seenDataVersion) return
    this.#assertLayout()
    this.refresh()
    this.knownLog.refresh()
    this.log.ids.noteForeignCommit()
    this.#seenDataVersion = version
  }

  /** True if another process has committed since the last transaction began. */
  get isBehind(): boolean {
    return this.#readDataVersion() !== this.#seenDataVersion
  }

  #readDataVersion(): number {
    return this.#dataVersion.get() ?? 0
  }

  #assertLayout(): void {
    const layout = this.meta.get('layout')
    if (layout === this.#layout) return
    throw new StoreError(
      'STORE_NEWER',
      `Another process has brought ${this.filename} from layout ${this.#layout} to ${layout}. Start this one again, with the release of the other.`,
    )
  }

  /** Reloads what is cached of the tables. */
  refresh(): void {
    this.nodeNames.clearCache()
    this.collections.clearCache()
    this.log.dropped.refresh()
    this.#serverNodeId = this.#readNodeId()
    this.#formerNodeIds = parseFormerNodes(this.meta.get('former_node_ids'))
    const isNew = this.#serverNodeId === this.meta.get('new_node_id')
    this.#serverBase = isNew ? 0 : this.meta.getNumber('server_base')
    this.clock.serveAs(this.#serverNodeId)
    const newest = this.#newestServerStamp()
    if (newest !== null) this.clock.resumeAfter(newest)
    this.tracked = new TrackedFields(this.#trackedRows.all().map((row) => this.#toTracked(row)))
    this.#takeUpSchema()
  }

  /**
   * Prepares for a log that replaces the present one: from now on the server writes as a new node, with numbers
   * from 1, and asks devices for what they hold of its former node. A chosen node id stays, and its numbers
   * continue.
   */
  renewNode(): void {
    const former = this.#serverNodeId
    const given = Math.max(this.meta.getNumber('server_base'), this.counters().serverSequence)
    this.meta.set('server_base', given)
    const nodeId = this.chosenNodeId ?? this.runtime.uuid()
    this.meta.set('node_id', nodeId)
    if (nodeId === former) this.meta.remove('new_node_id')
    else this.meta.set('new_node_id', nodeId)
    this.refresh()
    this.noteFormerNodes([former])
  }

  /** Inside a write transaction. */
  noteFormerNodes(nodeIds: readonly string[]): void {
    this.#formerNodeIds = addFormerNodes(this.#formerNodeIds, nodeIds, this.#serverNodeId)
    this.meta.set('former_node_ids', serializeFormerNodes(this.#formerNodeIds))
  }

  #readNodeId(): string {
    return this.chosenNodeId ?? this.meta.get('node_id') ?? ''
  }

  #flush(): void {
    this.log.flush()
    this.#tables?.flush()
  }

  #onBegin(): void {
    this.#ownSchemaBefore = this.ownSchema
    this.refreshIfForeign()
  }

  #onRollback(): void {
    this.ownSchema = this.#ownSchemaBefore // the tables are again those of this schema
    this.log.clearMemory()
    this.#tables?.discardUnwritten()
    try {
      this.refresh()
    } catch {
      this.#seenDataVersion = UNSEEN // the cause of the rollback is reported first; the next transaction reads again
    }
  }

  #keepServerClock({ entries }: AppendPlan): void {
    const stamp = newestServerStamp(entries)
    if (stamp === null) return
    const newest = this.#newestServerStamp()
    if (newest !== null && compareTimestamps(newest, stamp) >= 0) return
    this.meta.set('server_clock', serializeTimestamp(stamp))
  }

  #newestServerStamp(): Timestamp | null {
    const stored = this.meta.get('server_clock')
    return stored === null ? null : parseServerClock(stored)
  }

  #toTracked({ id, collection, field, isGranted, isReady }: TrackedRow): TrackedField {
    const name = this.collections.findName(collection)
    if (name === undefined) {
      throw corruptOnOpening(
        `Row ${id} of _kora_tracked is damaged, or _kora_collections: no name is stored there under the number ${collection}.`,
      )
    }
    if (field !== null && typeof field !== 'string')
      throw corruptOnOpening(`Row ${id} of _kora_tracked is damaged.`)
    return {
      id,
      collection: name,
      field,
      isGranted: isGranted !== 0,
      isReady: isReady !== 0,
    }
  }
}
