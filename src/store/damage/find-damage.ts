import { isDeepStrictEqual } from 'node:util'
import { SchemaError } from '../../core/errors.ts'
import { memoizeLast } from '../../core/memoize-last.ts'
import type { Operation } from '../../core/operation.ts'
import { checkOperationId } from '../../core/operation-id.ts'
import { ownValue } from '../../core/own-property.ts'
import { sleep } from '../../core/pause.ts'
import { quantityOf } from '../../core/quantity.ts'
import { isEncryptedPayload } from '../../core/record/binary-values.ts'
import { parseRecordState, serializeRecordState } from '../../core/record/codec.ts'
import { replayRecord } from '../../core/record/fold.ts'
import type { RecordState } from '../../core/record/state.ts'
import { missingResolvers, withResolversOf } from '../../core/schema/resolvers.ts'
import type { CollectionDefinition, SchemaDefinition } from '../../core/schema/types.ts'
import { operationOfWireJson } from '../../protocol/wire-identity.ts'
import { refuseRestore } from '../backup/backup-operation.ts'
import { columnsOf } from '../materialize/columns.ts'
import { parseObject } from '../parse-object.ts'
import type { MaterializedRecord } from '../store.ts'
import {
  certain,
  type Damage,
  type DamageSearchOptions,
  type DamageSearchResult,
  type DamageSource,
  type StoredRecordRow,
  type StoredRow,
  type UnreadableRecord,
  type UnreadableRow,
} from './damage.ts'

const RECORDS_PER_PAGE = 20 // in memory at once, each with its history
const LOOK_AGAIN_MS = 100 // after this, a writer has completed what it was changing

/** @see ServerStore.findDamage */
export async function findDamage(
  source: DamageSource,
  options: DamageSearchOptions,
): Promise<DamageSearchResult> {
  options.onProgress?.({ phase: 'database', done: 0, total: 1 })
  for await (const damage of source.findDatabaseDamage()) options.onDamage(damage)
  const rows = await searchLog(source, options)
  for (const damage of await source.findTrackedDamage()) options.onDamage(damage)
  const records = await searchRecords(source, options)
  for (const collection of Object.keys(source.schema?.collections ?? {})) {
    if (source.unfinished.has(collection)) {
      options.onDamage(unfilled(collection))
      continue
    }
    const stray = await source.countStrayRows(collection)
    if (stray > 0)
      options.onDamage(certain(`table ${collection}`, `${stray} of its rows belong to no record of the log`))
  }
  return { rows, records }
}

function unfilled(collection: string): Damage {
  const problem =
    'it is not filled, and was not compared with the log. A start, or `kora-server migrate`, goes on filling it'
  return { place: `table ${collection}`, problem, isCertain: false }
}

// ── the log ────────────────────────────────────────────────────────────────────────────────────

async function searchLog(
  source: DamageSource,
  { onDamage, onProgress }: DamageSearchOptions,
): Promise<number> {
  const { deliverySequence: end, operations } = await source.readEnd()
  let rows = 0
  let found = 0
  for (let after = 0; ; ) {
    const page = await source.readRows(after, end)
    let last = after
    for (const row of page) {
      rows++
      if ('isUnreadable' in row || row.kind === 'operation') found++ // it exists, whatever it is
      const damage = damageOfRow(row, last)
      if (damage !== null) onDamage(damage)
      last = Math.max(last, row.deliverySequence)
    }
    onProgress?.({ phase: 'log', done: Math.min(rows, operations), total: operations })
    if (last <= after) break
    after = last
  }
  if (found !== operations) {
    onDamage(certain('the log', `${quantityOf(operations, 'operation')} stored, ${found} of them found`))
  }
  return rows
}

function damageOfRow(row: StoredRow | UnreadableRow, previous: number): Damage | null {
  const place = `row ${row.deliverySequence} of the log`
  if ('isUnreadable' in row) return certain(place, 'what it holds cannot be read')
  const problem = problemOfRow(row, previous)
  if (problem !== null) return certain(place, problem)
  if (row.kind === 'snapshot') return null
  const refusal = refuseRestore(row.wireJson)
  if (refusal !== null) return certain(place, `it is an operation that no restore takes: ${refusal}`)
  if (row.checksum !== 'none') return null
  const operation = operationOfWireJson(row.wireJson) // it has been parsed once already
  if (checkOperationId(operation) !== 'mismatch') return null
  return {
    place,
    problem: 'its id does not follow from its content: it is damaged, or its device wrote it so',
    isCertain: false,
  }
}

function problemOfRow(row: StoredRow, previous: number): string | null {
  if (row.deliverySequence <= previous) return `it stands after row ${previous}`
  if (row.checksum === 'differs') return 'its checksum does not fit what it holds'
  const operation = parseObject(row.wireJson)
  if (operation === null) return 'what it holds is not an operation'
  if (row.recordId === null) return 'its record is missing'
  for (const name of ['nodeId', 'sequenceNumber', 'collection', 'recordId'] as const) {
    if (operation[name] !== row[name]) return `its ${name} is not that of the operation it holds`
  }
  if (wallTimeOf(operation) !== row.wallTime) return 'its time is not that of the operation it holds'
  if (row.hasOtherId) return 'it is not found by the id of the operation it holds'
  return row.isMissingInIndex ? 'an index, of scopes or of nodes, does not find it' : null
}

function wallTimeOf({ timestamp }: { readonly [key: string]: unknown }): unknown {
  return typeof timestamp === 'object' && timestamp !== null && 'wallTime' in timestamp
    ? timestamp.wallTime
    : null
}

// ── records and tables ─────────────────────────────────────────────────────────────────────────

async function searchRecords(source: DamageSource, options: DamageSearchOptions): Promise<number> {
  const total = await source.countRecords()
  const inForce = memoizeLast((stored: SchemaDefinition | null) => withOwnResolvers(stored, options))
  const schemaOf: SchemaOf = () => inForce(source.schema)
  const schema = schemaOf()
  for (const path of schema === null ? [] : missingResolvers(schema)) options.onDamage(unchecked(path))
  let records = 0
  for (let after = 0; ; ) {
    const page = await source.readRecords(after, RECORDS_PER_PAGE)
    const found = await Promise.all(page.map((record) => damageOfRecord(source, record, schemaOf)))
    for (const damage of found) if (damage !== null) options.onDamage(damage)
    records += page.length
    options.onProgress?.({ phase: 'records', done: records, total: Math.max(total, records) })
    const last = page.at(-1)
    if (last === undefined) return records
    after = last.ref
  }
}

/** The schema with which the states were folded: the app's may be a later one that is not in force yet. */
type SchemaOf = () => SchemaDefinition | null

function withOwnResolvers(
  stored: SchemaDefinition | null,
  { schema: own }: DamageSearchOptions,
): SchemaDefinition | null {
  return stored === null || own === undefined ? stored : withResolversOf(own, stored)
}

/** Reports that a field is not checked: without its resolver, the result of concurrent changes is unknown. */
function unchecked(path: string): Damage {
  const problem =
    "its resolver is missing here: records that need it are not checked. Name the app's schema with --schema or --config"
  return { place: `field ${path}`, problem, isCertain: false }
}

/** Checks a second time where something does not match, because a writer may have been in between. */
async function damageOfRecord(
  source: DamageSource,
  record: StoredRecordRow | UnreadableRecord,
  schemaOf: SchemaOf,
): Promise<Damage | null> {
  if ('isUnreadable' in record) {
    return certain(`record ${record.ref} of _kora_records`, 'its collection or its id cannot be read')
  }
  const place = `record ${record.collection}/${record.recordId}`
  if ((await problemOfRecord(source, record, schemaOf)) === null) return null
  await sleep(source.runtime, LOOK_AGAIN_MS)
  const [again] = await source.readRecords(record.ref - 1, 1)
  const problem =
    again === undefined || 'isUnreadable' in again
      ? 'it cannot be read again'
      : await problemOfRecord(source, again, schemaOf)
  return problem === null ? null : certain(place, problem)
}

async function problemOfRecord(
  source: DamageSource,
  record: StoredRecordRow,
  schemaOf: SchemaOf,
): Promise<string | null> {
  const state = record.state === null ? undefined : readState(record.state)
  if (state === null) return 'its state cannot be read'
  if (state?.isPurged === true || source.unfinished.has(record.collection)) return null
  const collection = ownValue(schemaOf()?.collections ?? {}, record.collection) ?? null
  const { history, shown } = record
  if (history === null) return 'a row of its history is damaged'
  const replayed = replayIfKnown(history, collection)
  if (replayed === 'unknown') return null
  if (replayed === null) return 'no operation of the log stands behind it'
  const foreign = history.find((operation) => !isOf(operation, record))
  if (foreign !== undefined)
    return `the operations behind it are of record ${foreign.collection}/${foreign.recordId}`
  const isSound =
    state === undefined
      ? isOneInsert(history)
      : await isStateOf(source, record, { state, replayed: withKeptMark(replayed, state, history) })
  if (!isSound) return 'its state is not that of the replayed log'
  if (collection === null || shown === 'incomplete table') return null
  if (shown === 'unreadable') return 'its row in the table cannot be read'
  if (shown === null) return 'its table has no row for it'
  const wrong = differingColumn(shown, replayed, collection, source)
  return wrong === null ? null : `column "${wrong}" of its table is not what the log gives`
}

function replayIfKnown(
  history: readonly Operation[],
  collection: CollectionDefinition | null,
): RecordState | 'unknown' | null {
  try {
    return replayRecord(history, collection)
  } catch (error) {
    if (error instanceof SchemaError && error.code === 'RESOLVER_MISSING') return 'unknown'
    throw error
  }
}

function isOf(operation: Operation, { collection, recordId }: StoredRecordRow): boolean {
  return operation.collection === collection && operation.recordId === recordId
}

function isOneInsert(history: readonly Operation[]): boolean {
  return history.length === 1 && history[0]?.type === 'insert'
}

/**
 * Compares a state with a replay. Fields that the schema no longer has keep the values they were folded to while it
 * had them; a replay, which does not know their kind, may give others.
 */
async function isStateOf(
  source: DamageSource,
  { collection }: StoredRecordRow,
  { state, replayed }: { state: RecordState; replayed: RecordState },
): Promise<boolean> {
  const expected = parseRecordState(serializeRecordState(replayed)) // some differences disappear in the stored form
  if (isDeepStrictEqual(expected, state)) return true
  const retired = new Set(await source.readRetiredFields(collection))
  return isDeepStrictEqual(withoutValues(expected, retired), withoutValues(state, retired))
}

/** Earlier releases kept a record that had ever been encrypted as such, whether its insert was in the clear or not. */
function withKeptMark(
  replayed: RecordState,
  { isEncrypted, isSealed }: RecordState,
  history: readonly Operation[],
): RecordState {
  const isKept = isSealed && history.some(({ data }) => isEncryptedPayload(data))
  return isKept ? { ...replayed, isEncrypted, isSealed } : replayed
}

function withoutValues(state: RecordState, fields: ReadonlySet<string>): RecordState {
  const kept = Object.entries(state.values).filter(([field]) => !fields.has(field))
  return { ...state, values: Object.fromEntries(kept) }
}

function readState(text: string): RecordState | null {
  try {
    return parseRecordState(text)
  } catch {
    return null
  }
}

function differingColumn(
  shown: MaterializedRecord,
  state: RecordState,
  collection: CollectionDefinition,
  { dialect }: DamageSource,
): string | null {
  if (shown._created_at !== state.createdAt) return '_created_at'
  if (shown._updated_at !== state.updatedAt) return '_updated_at'
  if (shown._deleted !== state.isDeleted) return '_deleted'
  for (const column of columnsOf(collection, dialect)) {
    const expected = column.show(ownValue(state.values, column.field))
    if (!isDeepStrictEqual(shown[column.field] ?? null, expected ?? null)) return column.field
  }
  return null
}
