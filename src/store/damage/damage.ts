import type { Operation } from '../../core/operation.ts'
import type { SchemaDefinition } from '../../core/schema/types.ts'
import type { SqlDialect } from '../materialize/columns.ts'
import type { MaterializedRecord } from '../store.ts'

/** Something stored that is not what was written, or does not follow from it. */
export interface Damage {
  /** "row 17 of the log", "record todos/4f…" */
  readonly place: string
  readonly problem: string
  /** False where an honest device may have written it so. */
  readonly isCertain: boolean
}

export interface DamageProgress {
  readonly phase: 'database' | 'log' | 'records'
  readonly done: number
  readonly total: number
}

export interface DamageSearchOptions {
  readonly onDamage: (damage: Damage) => void
  readonly onProgress?: (progress: DamageProgress) => void
  /** Has the resolvers: functions, of which a store holds the hashes. By all else the store's own schema counts. */
  readonly schema?: SchemaDefinition
}

export interface DamageSearchResult {
  readonly rows: number
  readonly records: number
}

/** A row of the log as the columns say it. */
export interface StoredRow {
  readonly deliverySequence: number
  readonly kind: 'operation' | 'snapshot'
  readonly nodeId: string
  readonly sequenceNumber: number
  readonly wallTime: number
  readonly collection: string
  readonly recordId: string
  readonly wireJson: string
  /** True where it is not found by the id of the operation that it holds. */
  readonly hasOtherId: boolean
  readonly checksum: 'fits' | 'differs' | 'none'
  /** Its node, or some scope that it belongs to, does not find it. */
  readonly isMissingInIndex: boolean
}

/** A row that says nothing that can be understood. */
export interface UnreadableRow {
  readonly deliverySequence: number
  readonly isUnreadable: true
}

export interface StoredRecordRow {
  readonly ref: number
  readonly collection: string
  readonly recordId: string
  /** As `serializeRecordState` wrote it; null: not stored, the record is one insert and nothing else. */
  readonly state: string | null
}

/** A record of which not even the name is known. */
export interface UnreadableRecord {
  readonly ref: number
  readonly isUnreadable: true
}

/** What `findDamage` reads of a store with tables. */
export interface DamageSource {
  readonly dialect: SqlDialect
  readonly schema: SchemaDefinition | null
  /** Collections whose tables are not filled yet. */
  readonly unfinished: ReadonlySet<string>
  /** What the database finds out by itself. */
  findDatabaseDamage(): Promise<readonly Damage[]>
  /** At one moment: the end of the log and the operations up to there. */
  readEnd(): Promise<{ readonly deliverySequence: number; readonly operations: number }>
  /** Rows above `after` up to `end`, ascending; some at least, while there are any. */
  readRows(after: number, end: number): Promise<readonly (StoredRow | UnreadableRow)[]>
  /** Fields that are tracked and cannot be. */
  findTrackedDamage(): Promise<readonly Damage[]>
  /** Fields of the collection that only earlier schemas had. */
  readRetiredFields(collection: string): Promise<readonly string[]>
  countRecords(): Promise<number>
  readRecords(afterRef: number, limit: number): Promise<readonly (StoredRecordRow | UnreadableRecord)[]>
  /** What a replay of the record folds; null when a row of it is damaged. */
  readHistory(ref: number): Promise<readonly Operation[] | null>
  findShown(collection: string, recordId: string): Promise<MaterializedRecord | null>
  /** Rows of the collection's table that no record stands behind. */
  countStrayRows(collection: string): Promise<number>
}

/** A finding that has no explanation but damage. */
export function certain(place: string, problem: string): Damage {
  return { place, problem, isCertain: true }
}
