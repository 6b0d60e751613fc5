import { StoreError } from '../../core/errors.ts'
import { LOG_EVENTS } from '../../core/log-events.ts'
import { type Logger, logEvent } from '../../core/logger.ts'
import type { RecordState } from '../../core/record/state.ts'
import type { Runtime } from '../../core/runtime.ts'
import type { SchemaDefinition } from '../../core/schema/types.ts'
import { isServerWrite } from '../append/author-write.ts'
import type { PlannedRecord } from '../append/batch-overlay.ts'
import { runLoadingAsync } from '../append/load.ts'
import { type AppendContext, type AppendPlan, planAppend } from '../append/plan-append.ts'
import { ServerClock } from '../append/server-clock.ts'
import { parseServerClock } from '../damage/server-clock.ts'
import { SchemasInUse } from '../materialize/schemas-in-use.ts'
import type { AppendRequest, AppendResult, ServerWrite } from '../store.ts'
import { AppendLoader, type DroppedKnowledge } from './append-loader.ts'
import { CollectionTables } from './collection-tables.ts'
import {
  type PostgresDatabase,
  type Queries,
  RetryTransaction,
  type Transaction,
  type TransactionOptions,
} from './database.ts'
import { KnownEnd } from './known-end.ts'
import { metaTable } from './meta-table.ts'
import { NameTable } from './name-table.ts'
import { NodeRegistry } from './node-registry.ts'
import { type PlanNames, writePlan } from './plan-writer.ts'
import { PostgresBlobs } from './postgres-blobs.ts'
import { PostgresLog } from './postgres-log.ts'
import { replaceServerNode } from './server-node-id.ts'
import {
  collectionIn,
  NEXT_EPOCH,
  NO_SETTINGS,
  type ReadSettings,
  readSettings,
  type Settings,
} from './settings.ts'

/** More numbers than a server uses before it notices that the newest operations are lost. */
const MAX_LOST_NUMBERS = 1_000_000_000

export interface CoreOptions {
  readonly runtime: Runtime
  readonly logger: Logger
  readonly chosenNodeId: string | undefined
  readonly isEmpty: boolean
}

/** The basis of a plan. Settings and names belong together, because a plan contains names of its schema. */
export interface AppendBase {
  readonly settings: Settings
  readonly names: PlanNames
  /**
   * The count of lost connections when the log was last seen to contain what is known, and the names were read. If
   * another one was lost since then, both may be invalid.
   */
  readonly lostConnections: number
}

/** The tables of one database with their caches, for the parts of the store. */
export class PostgresCore {
  readonly db: PostgresDatabase
  readonly runtime: Runtime
  readonly logger: Logger
  readonly nodeNames: NameTable
  readonly collections: NameTable
  readonly nodes: NodeRegistry
  readonly knownEnd: KnownEnd
  readonly log: PostgresLog
  readonly blobs: PostgresBlobs
  readonly clock: ServerClock
  /** True for a database without tables, opened for reading only. */
  readonly isEmpty: boolean
  /**
   * The schema of this process: as given or, without that, as in the database when it was opened; with what that
   * has remembered of others since. The one in force is in the settings.
   */
  ownSchema: SchemaDefinition | null = null
  #ownTables: { readonly schema: SchemaDefinition; readonly tables: CollectionTables } | null = null
  readonly #schemas: SchemasInUse
  readonly #chosenNodeId: string | undefined
  #settings: Settings
  #lastRefresh: Promise<unknown> = Promise.resolve()
  readonly #dropped: DroppedKnowledge = { isUsed: false }

  static async open(db: PostgresDatabase, options: CoreOptions): Promise<PostgresCore> {
    const schemas = new SchemasInUse()
    if (options.isEmpty) return new PostgresCore(db, options, { settings: NO_SETTINGS, schemas })
    const own = { schema: null, schemas, nodeId: options.chosenNodeId }
    const { settings } = await readSettings(db, db, own)
    const core = new PostgresCore(db, options, { settings, schemas })
    const newest = await metaTable.get(db, 'server_clock')
    if (newest !== null) core.clock.resumeAfter(parseServerClock(newest))
    return core
  }

  private constructor(
    db: PostgresDatabase,
    { runtime, logger, chosenNodeId, isEmpty }: CoreOptions,
    { settings, schemas }: { settings: Settings; schemas: SchemasInUse },
  ) {
    this.db = db
    this.runtime = runtime
    this.logger = logger
    this.#chosenNodeId = chosenNodeId
    this.isEmpty = isEmpty
    this.clock = new ServerClock(settings.serverNodeId, runtime)
    this.nodeNames = new NameTable(db, '{nodes}', 'node_id')
    this.collections = new NameTable(db, '{collections}', 'name')
    this.nodes = new NodeRegistry(db)
    this.knownEnd = new KnownEnd(db, {
      useSettingsOf: (epoch) => this.#useSettingsOf(epoch),
      leaveServerNode: (transaction) => this.#leaveServerNode(transaction),
    })
    this.knownEnd.subscribe(() => this.#clearNameCaches())
    this.log = new PostgresLog(db, {
      nodes: this.nodeNames,
      collections: this.collections,
      knownEnd: this.knownEnd,
    })
    this.blobs = new PostgresBlobs(db)
    this.#schemas = schemas
    this.#settings = settings
    this.ownSchema = settings.schema
  }

  get settings(): Settings {
    return this.#settings
  }

  /** For a log that replaces the present one. */
  newNodeId(): string {
    return this.#chosenNodeId ?? this.runtime.uuid()
  }

  /** The tables as this process' own schema sees them: changes by other processes keep their columns. */
  get ownTables(): CollectionTables | null {
    const schema = this.ownSchema
    if (schema === null) return null
    if (this.#ownTables?.schema !== schema) {
      this.#ownTables = { schema, tables: new CollectionTables(this.db, schema) }
    }
    return this.#ownTables.tables
  }

  /** Answers the questions of the append algorithm from these settings. */
  contextOf(settings: Settings): AppendContext {
    return {
      serverNodeId: settings.serverNodeId,
      clock: this.clock,
      isServerNode: (nodeId) => nodeId === settings.serverNodeId || settings.formerNodeIds.has(nodeId),
      schema: settings.schema,
      collection: (name) => collectionIn(settings.schema, name),
      trackedFields: (collection) => settings.tracked.namesOf(collection),
    }
  }

  /** Reads the settings again. Those read in a transaction are not kept, because it may be rolled back. */
  async refresh(queries: Queries = this.db): Promise<Settings> {
    if (queries === this.db) return this.#inTurn(() => this.#renewSettings())
    return (await this.#readSettings(queries)).settings
  }

  /** Makes sure that the settings are those of the log, because the present ones may be from a host that was lost. */
  async #useSettingsOf(epoch: number): Promise<void> {
    const isKnown = (): boolean => epoch === this.#settings.epoch
    if (!isKnown()) await this.#inTurn(async () => isKnown() || this.#renewSettings())
  }

  /** Runs reads one after the other, so that an earlier result never replaces a later one. */
  #inTurn<Result>(read: () => Promise<Result>): Promise<Result> {
    const result = this.#lastRefresh.then(read)
    this.#lastRefresh = result.catch(() => {}) // the caller handles it
    return result
  }

  #readSettings(queries: Queries): Promise<ReadSettings> {
    const own = { schema: this.ownSchema, schemas: this.#schemas, nodeId: this.#chosenNodeId }
    return readSettings(this.db, queries, own)
  }

  async #renewSettings(): Promise<Settings> {
    const given = this.ownSchema
    const { settings, ownSchema, end } = await this.#readSettings(this.db)
    this.knownEnd.take(end) // first: listeners have to hear of another log while these settings are older
    const { tracked } = this.#settings
    this.#settings = settings
    if (this.ownSchema === given) this.ownSchema = ownSchema // else the next read uses the newer one
    this.clock.serveAs(settings.serverNodeId)
    // Entries written since are not indexed for readers that rely on lost settings, so they have to ask again.
    if (!this.db.isReadOnly && !settings.tracked.hasAllOf(tracked)) this.knownEnd.announceReplacement()
    return settings
  }

  /**
   * Gives the server another node where the log has lost its end: its counter does not know the numbers of the lost
   * operations.
   */
  async #leaveServerNode(transaction: Transaction): Promise<void> {
    const nodeId = this.newNodeId()
    // First of all, because other servers may write as this node next.
    await transaction.rows('INSERT INTO {nodes} (node_id) VALUES ($1) ON CONFLICT DO NOTHING', [nodeId])
    const settings = await this.refresh(transaction)
    const { formerNodeIds, serverNodeId } = this.#settings // a lost restore may have set another node
    await replaceServerNode(transaction, settings, {
      nodeId,
      otherNodeIds: [...formerNodeIds, serverNodeId],
      lostNumbers: MAX_LOST_NUMBERS,
    })
  }

  /** Clears the caches, because in another log a number may mean another name. */
  #clearNameCaches(): void {
    this.nodeNames.clearCache()
    this.collections.clearCache()
  }

  /** Announces to all servers that the settings have changed: later commits read them again. */
  async bumpEpoch(transaction: Transaction): Promise<void> {
    await transaction.rows(`UPDATE {counters} SET epoch = ${NEXT_EPOCH} WHERE id = 1`)
  }

  // ── appending ──────────────────────────────────────────────────────────────────────────────

  /**
   * Plans and writes a batch in a transaction of its own.
   *
   * @throws StoreError `STORE_UNAVAILABLE` when the log that the batch was made for has been replaced: operations
   *   that it builds on may be lost, and the version vector must not move past those
   */
  async append(requests: readonly (AppendRequest | ServerWrite)[]): Promise<readonly AppendResult[]> {
    const { replacements } = this.knownEnd
    let base = await this.baseOf(requests)
    return this.transaction(
      async (transaction) => {
        if (base.lostConnections !== this.db.lostConnections) {
          throw new RetryTransaction(
            'A connection was lost since the log was compared, or the names were read',
          )
        }
        return this.appendIn(transaction, requests, { ...base, isLast: true })
      },
      {
        beginsWithReads: true,
        beforeRetry: async () => {
          if (this.knownEnd.replacements !== replacements) {
            throw new StoreError('STORE_UNAVAILABLE', `${this.db.name}: another log has taken its place.`)
          }
          base = await this.baseOf(requests)
        },
      },
    )
  }

  /** The basis for planning the requests: the settings, with numbers for all names that the plan may contain. */
  async baseOf(
    requests: readonly (AppendRequest | ServerWrite)[],
    settings = this.#settings,
  ): Promise<AppendBase> {
    const { lostConnections } = this.knownEnd
    const nodes = requests.flatMap((request) => (isServerWrite(request) ? [] : entriesOf(request)))
    const collections = requests.map(
      (request) => (isServerWrite(request) ? request : request.operation).collection,
    )
    const names = {
      nodes: await this.nodeNames.intern([settings.serverNodeId, ...nodes]),
      // Side effects may belong to any collection of the schema.
      collections: await this.collections.intern([
        ...collections,
        ...Object.keys(settings.schema?.collections ?? {}),
      ]),
    }
    return { settings, names, lostConnections }
  }

  /**
   * The same as `append`, in the caller's transaction.
   *
   * @param options from `baseOf`; isLast: true to commit in the same round trip
   */
  async appendIn(
    transaction: Transaction,
    requests: readonly (AppendRequest | ServerWrite)[],
    { settings, names, isLast }: Pick<AppendBase, 'settings' | 'names'> & { isLast: boolean },
  ): Promise<readonly AppendResult[]> {
    const loader = new AppendLoader(transaction, {
      schema: this.db.schema,
      collectionIds: names.collections,
      tables: settings.tables,
      dropped: this.#dropped,
    })
    const plan = await runLoadingAsync(planAppend(requests, this.contextOf(settings)), async (request) => {
      const loaded = await loader.load(request)
      if (loader.epoch !== null && loader.epoch !== settings.epoch)
        throw new RetryTransaction('The settings have changed')
      return loaded
    })
    return this.write(transaction, plan, { names, settings, isLast })
  }

  /**
   * Runs the action in a transaction. If it was planned with settings that are no longer in force, or for a log
   * that has lost its end, these are read before it is repeated.
   */
  transaction<Result>(
    action: (transaction: Transaction) => Promise<Result>,
    options?: TransactionOptions,
  ): Promise<Result> {
    return this.db.transaction(action, {
      ...options,
      beforeRetry: async (error) => {
        if (error instanceof RetryTransaction) {
          await this.log.readEnd() // handles a log that has lost its end
          await this.refresh()
        }
        await options?.beforeRetry?.(error)
      },
    })
  }

  /** Writes a plan: first the tables, which need no numbers, so that the numbers are locked only briefly. */
  async write(
    transaction: Transaction,
    plan: AppendPlan,
    { names, settings, isLast = false }: { names: PlanNames; settings: Settings; isLast?: boolean },
  ): Promise<readonly AppendResult[]> {
    for (const [collection, rows] of rowsByCollection(plan.records)) {
      settings.tables?.write(transaction, collection, rows)
    }
    const { tracked, epoch, serverNodeId, serverBase } = settings
    return writePlan(transaction, plan, {
      names,
      tracked,
      epoch,
      knownEnd: this.knownEnd.sequence,
      serverNodeId,
      serverBase,
      isLast,
    })
  }

  /** Size of the whole database, including other schemas. */
  async storageBytes(): Promise<number> {
    const [row] = await this.db.rows<[string]>('SELECT pg_database_size(current_database())::text')
    return Number(row?.[0] ?? 0)
  }

  logOutrun(schemaVersion: number, runningVersion: number): void {
    logEvent(this.logger, LOG_EVENTS.schemaOutrun, { schemaVersion, runningVersion })
  }

  logWaiting(reason: string): void {
    logEvent(this.logger, LOG_EVENTS.storeWaiting, { store: this.db.name, reason })
  }

  logHeldUp(reason: string): void {
    logEvent(this.logger, LOG_EVENTS.storeHeldUp, { store: this.db.name, reason })
  }
}

/** In the order of names, which all transactions follow. */
function rowsByCollection(
  records: readonly PlannedRecord[],
): [string, { recordId: string; state: RecordState }[]][] {
  const rows = new Map<string, { recordId: string; state: RecordState }[]>()
  for (const { collection, recordId, state } of records) {
    if (state === null) continue
    const own = rows.get(collection)
    if (own === undefined) rows.set(collection, [{ recordId, state }])
    else own.push({ recordId, state })
  }
  return [...rows].sort(([a], [b]) => (a < b ? -1 : 1))
}

/** The node of an operation, and the vector entry that it moves, if that is another. */
function entriesOf({ operation: { nodeId }, access }: AppendRequest): string[] {
  const entry = access.vectorEntryOf(nodeId)
  return entry === null || entry === nodeId ? [nodeId] : [nodeId, entry]
}
