import { StoreError } from '../../core/errors.ts'
import type { RecordKey } from '../append/load.ts'
import type { BackupNode, BackupRevocation } from '../backup/backup-format.ts'
import { countRestored, restoreRequests } from '../backup/restore-requests.ts'
import { restoredBase } from '../backup/restored-base.ts'
import type { DroppedOperation } from '../compaction/compaction.ts'
import { INHERITED_CLAIM } from '../damage/vector-claims.ts'
import { addFormerNodes, serializeFormerNodes } from '../former-nodes.ts'
import { keptTables } from '../materialize/schema-change.ts'
import { parseStoredSchema } from '../materialize/stored-schema.ts'
import { OF_FORMER_LOG } from '../node-index.ts'
import {
  assertEmpty,
  assertRestoreMode,
  type RestoreCounts,
  type RestoredOperation,
  type RestoreOptions,
  type StoreRestore,
} from '../restore.ts'
import type { Transaction } from './database.ts'
import { joinSchema, rememberIn } from './join-schema.ts'
import { metaTable } from './meta-table.ts'
import { STORED_SEQUENCE } from './node-registry.ts'
import type { PostgresCore } from './postgres-core.ts'
import { addDropped, replayNoted } from './postgres-dropped.ts'
import { writeRevocations } from './postgres-revocations.ts'
import { replaceServerNode } from './server-node-id.ts'
import type { Settings } from './settings.ts'

export interface PostgresRestoreOptions extends RestoreOptions {
  /** Called after each commit, to notify all readers of the log. */
  readonly afterCommit: () => Promise<void>
}

/** @see RestorableStore.openRestore; a merge is opened after the schemas are joined */
export function openRestore(
  core: PostgresCore,
  options: PostgresRestoreOptions,
): Promise<StoreRestore> | StoreRestore {
  assertRestoreMode(options.mode)
  return options.mode === 'merge' ? new Merge(core, options) : Replacement.open(core, options)
}

/** Adds what the store lacks, in steps. Repeated after an interruption, it continues. */
class Merge implements StoreRestore {
  readonly #core: PostgresCore
  readonly #serverNodeIds: readonly string[]
  readonly #afterCommit: () => Promise<void>

  constructor(core: PostgresCore, { serverNodeIds = [], afterCommit }: PostgresRestoreOptions) {
    this.#core = core
    this.#serverNodeIds = serverNodeIds
    this.#afterCommit = afterCommit
  }

  async addOperations(operations: readonly RestoredOperation[]): Promise<RestoreCounts> {
    return countRestored(await this.#core.append(restoreRequests(operations)))
  }

  async addDropped(dropped: readonly DroppedOperation[]): Promise<number> {
    return addDropped(this.#core, dropped, (action) => this.#core.transaction(action))
  }

  async replayNoted(records: readonly RecordKey[]): Promise<void> {
    await replayNoted(this.#core, records, (action) => this.#core.transaction(action))
  }

  async addNodes(nodes: readonly BackupNode[]): Promise<void> {
    const { serverNodeId } = this.#core.settings
    await this.#core.transaction((transaction) => writeNodes(transaction, nodes, serverNodeId))
  }

  async addRevocations(revocations: readonly BackupRevocation[]): Promise<void> {
    await this.#core.transaction((transaction) => writeRevocations(transaction, revocations))
  }

  async commit(): Promise<void> {
    const core = this.#core
    await core.transaction(async (transaction) => {
      await core.bumpEpoch(transaction) // first, so that no other server can add any in between
      const { formerNodeIds, serverNodeId } = await core.refresh(transaction)
      const former = addFormerNodes(formerNodeIds, this.#serverNodeIds, serverNodeId)
      await metaTable.set(transaction, 'former_node_ids', serializeFormerNodes(former))
    })
    await core.refresh()
    await this.#afterCommit()
  }

  async rollback(): Promise<void> {}
}

interface Begun {
  readonly transaction: Transaction
  readonly settings: Settings
}

/** Replaces all content with that of a backup, in one transaction that stays open meanwhile. */
class Replacement implements StoreRestore {
  readonly #core: PostgresCore
  readonly #transaction: Transaction
  /** The settings inside the transaction: no other server knows yet the node that servers will write as. */
  readonly #settings: Settings
  readonly #end: (isCommitted: boolean) => Promise<void>

  private constructor(
    core: PostgresCore,
    { transaction, settings }: Begun,
    end: (isCommitted: boolean) => Promise<void>,
  ) {
    this.#core = core
    this.#transaction = transaction
    this.#settings = settings
    this.#end = end
  }

  static async open(core: PostgresCore, options: PostgresRestoreOptions): Promise<Replacement> {
    const nodeId = core.newNodeId()
    await core.nodeNames.intern([nodeId]) // other servers may write as this node next
    let begin: (begun: Begun) => void = () => {}
    let finish: (isCommitted: boolean) => void = () => {}
    const begun = new Promise<Begun>((resolve) => {
      begin = resolve
    })
    const finished = new Promise<boolean>((resolve) => {
      finish = resolve
    })
    let hasBegun = false
    const ended = core.db.transaction(
      async (queries) => {
        // Whatever a first attempt has added cannot be added again.
        if (hasBegun) throw new StoreError('STORE_UNAVAILABLE', 'The restore was interrupted.')
        await removeEverything(queries, core, { ...options, nodeId })
        const settings = await core.refresh(queries)
        hasBegun = true
        begin({ transaction: queries, settings })
        if (!(await finished)) throw new RolledBack()
        // Those who wait for the counters have planned for the old log. Last, because what is added here depends on
        // the epoch too.
        await core.bumpEpoch(queries)
      },
      { isLong: true },
    )
    ended.catch(() => {}) // awaited below
    const end = async (isCommitted: boolean): Promise<void> => {
      finish(isCommitted)
      await ended.catch((error: unknown) => {
        if (isCommitted) throw error
      })
      if (!isCommitted) return
      if (options.recordedSchema) await rememberIn(core)
      await core.refresh()
      await options.afterCommit()
    }
    return new Replacement(core, await Promise.race([begun, ended.then(neverBegun)]), end)
  }

  async addOperations(operations: readonly RestoredOperation[]): Promise<RestoreCounts> {
    const requests = restoreRequests(operations)
    const base = await this.#core.baseOf(requests, this.#settings)
    return countRestored(await this.#core.appendIn(this.#transaction, requests, { ...base, isLast: false }))
  }

  async addDropped(dropped: readonly DroppedOperation[]): Promise<number> {
    return addDropped(this.#core, dropped, (action) => action(this.#transaction))
  }

  async replayNoted(records: readonly RecordKey[]): Promise<void> {
    await replayNoted(this.#core, records, (action) => action(this.#transaction), this.#settings)
  }

  async addNodes(nodes: readonly BackupNode[]): Promise<void> {
    await writeNodes(this.#transaction, nodes, this.#settings.serverNodeId)
  }

  async addRevocations(revocations: readonly BackupRevocation[]): Promise<void> {
    await writeRevocations(this.#transaction, revocations)
  }

  commit(): Promise<void> {
    return this.#end(true)
  }

  rollback(): Promise<void> {
    return this.#end(false)
  }
}

class RolledBack extends Error {}

function neverBegun(): never {
  throw new Error('A transaction ended before it had begun')
}

async function removeEverything(
  transaction: Transaction,
  core: PostgresCore,
  options: RestoreOptions & { readonly nodeId: string },
): Promise<void> {
  const { mode, maxDeliverySequence, serverNodeIds = [], nodeId, recordedSchema } = options
  // First, so that no other commit comes in between.
  const [row] = await transaction.rows<[number]>(
    'SELECT delivery_sequence FROM {counters} WHERE id = 1 FOR UPDATE',
  )
  const [ownMaxSequence] = row ?? [0]
  if (mode === 'empty') assertEmpty(await hasEntries(transaction)) // again, now that no other commit is possible
  if (recordedSchema) await joinSchema(core.db, transaction, recordedSchema)
  const base = restoredBase(maxDeliverySequence, { ownMaxSequence, nowMs: core.runtime.now() })
  for (const table of ['operations', 'dropped', 'scope', 'records', 'blob_refs', 'write_results']) {
    await transaction.rows(`DELETE FROM {${table}}`)
  }
  for (const table of await readKeptTables(transaction, core)) await transaction.rows(`DELETE FROM ${table}`)
  await transaction.rows('UPDATE {tracked} SET is_ready = true, tracked_after = $1', [base])
  await transaction.rows(
    `UPDATE {nodes} SET max_sequence = 0, legacy_position = 0,
      view_key = CASE WHEN view_key IS NULL THEN NULL ELSE '${OF_FORMER_LOG}' END`,
  )
  await transaction.rows(`DELETE FROM {meta} WHERE key LIKE '${INHERITED_CLAIM}%'`)
  await transaction.rows('UPDATE {counters} SET delivery_sequence = $1, operation_count = 0 WHERE id = 1', [
    base,
  ])
  await metaTable.remove(transaction, 'doubtful_through') // all clients will read all of the new log
  await metaTable.set(transaction, 'log_replaced_at', core.runtime.now())
  const settings = await core.refresh(transaction)
  await replaceServerNode(transaction, settings, { nodeId, otherNodeIds: serverNodeIds })
}

async function hasEntries(transaction: Transaction): Promise<boolean> {
  const [row] = await transaction.rows<[boolean]>('SELECT EXISTS (SELECT 1 FROM {operations})')
  return row?.[0] === true
}

/** The quoted names of kept tables. The operator may have dropped that of a removed collection. */
async function readKeptTables(transaction: Transaction, { db }: PostgresCore): Promise<string[]> {
  const schema = await metaTable.get(transaction, 'schema')
  const tables = keptTables(schema === null ? null : parseStoredSchema(schema)).map((name) => db.table(name))
  const found = await transaction.rows<[string]>(
    'SELECT name FROM unnest($1::text[]) AS name WHERE to_regclass(name) IS NOT NULL',
    [tables],
  )
  return found.map(([name]) => name)
}

async function writeNodes(
  transaction: Transaction,
  nodes: readonly BackupNode[],
  serverNodeId: string,
): Promise<void> {
  await transaction.rows(
    `INSERT INTO {nodes} AS n (node_id, user_id, max_sequence, has_written)
      SELECT node_id, user_id, max_sequence, max_sequence > 0
      FROM unnest($1::text[], $2::text[], $3::bigint[]) AS b (node_id, user_id, max_sequence)
      ON CONFLICT (node_id) DO UPDATE SET
        user_id = coalesce(n.user_id, excluded.user_id),
        has_written = n.has_written OR excluded.has_written,
        max_sequence = greatest(n.max_sequence, excluded.max_sequence)`,
    [
      nodes.map(({ nodeId }) => nodeId),
      nodes.map(({ userId }) => userId),
      nodes.map(({ maxSequence }) => maxSequence),
    ],
  )
  await transaction.rows(
    `INSERT INTO {meta} AS m (key, value)
      SELECT '${INHERITED_CLAIM}' || b.entry, b.claimed::text
      FROM unnest($1::text[], $2::bigint[]) AS b (entry, claimed)
      LEFT JOIN {nodes} n ON n.node_id = split_part(b.entry, chr(31), 1)
      WHERE b.claimed > ${STORED_SEQUENCE}
      ON CONFLICT (key) DO UPDATE SET value = greatest(m.value::bigint, excluded.value::bigint)::text`,
    [nodes.map(({ nodeId }) => nodeId), nodes.map(({ maxSequence }) => maxSequence)],
  )
  // The server's next operations get numbers above those that it used in its former life.
  await transaction.rows(
    `UPDATE {counters} SET server_sequence = greatest(server_sequence,
      (SELECT max_sequence FROM {nodes} WHERE node_id = $1)) WHERE id = 1`,
    [serverNodeId],
  )
}
