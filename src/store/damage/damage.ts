import type { Operation } from '../../core/operation.ts'
import type { Runtime } from '../../core/runtime.ts'
import type { SchemaDefinition } from '../../core/schema/types.ts'
import type { SqlDialect } from '../materialize/columns.ts'
import type { MaterializedRecord } from '../store.ts'

/** Stored data that differs from what was written, or does not follow from it. */
export interface Damage {
  /** "row 17 of the log", "record todos/4f…" */
  readonly place: string
  readonly problem: string
  /** False where an honest device may have caused it. */
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
  /**
   * Provides the resolvers, which are functions; a store holds only their hashes. In all other respects the store's
   * own schema counts.
   */
  readonly schema?: SchemaDefinition
}

export interface DamageSearchResult {
  readonly rows: number
  readonly records: number
}

/** A row of the log according to its columns. */
export interface StoredRow {
  readonly deliverySequence: number
  readonly kind: 'operation' | 'snapshot'
  readonly nodeId: string
  readonly sequenceNumber: number
  readonly wallTime: number
  readonly collection: string
  /** null: the store has no record under the number that the row gives. */
  readonly recordId: string | null
  readonly wireJson: string
  /** True where the index finds it by another id than that of its operation. */
  readonly hasOtherId: boolean
  readonly checksum: 'fits' | 'differs' | 'none'
  /** True where its node, or a scope that it belongs to, does not find it. */
  readonly isMissingInIndex: boolean
}

/** A row whose content cannot be understood. */
export interface UnreadableRow {
  readonly deliverySequence: number
  readonly isUnreadable: true
}

export interface StoredRecordRow {
  readonly ref: number
  readonly collection: string
  readonly recordId: string
  /** As written by `serializeRecordState`; null: not stored, because the record is one insert and nothing else. */
  readonly state: string | null
  /** The operations that a replay of the record folds; null when a row of it is damaged. */
  readonly history: readonly Operation[] | null
  /** Its row in the table of its collection; null: there is none. Rows of an incomplete table are not compared. */
  readonly shown: MaterializedRecord | 'unreadable' | 'incomplete table' | null
}

/** A record of which not even the name is known. */
export interface UnreadableRecord {
  readonly ref: number
  readonly isUnreadable: true
}

/** What `findDamage` reads from a store with tables. */
export interface DamageSource {
  readonly runtime: Pick<Runtime, 'setTimer'>
  readonly dialect: SqlDialect
  readonly schema: SchemaDefinition | null
  /** Collections whose tables are not filled yet. */
  readonly unfinished: ReadonlySet<string>
  /** Damage that the database itself finds. */
  findDatabaseDamage(): AsyncIterable<Damage>
  /** The end of the log, and the operations up to there, at one moment. */
  readEnd(): Promise<{ readonly deliverySequence: number; readonly operations: number }>
  /** Rows above `after` up to `end`, ascending; at least one, as long as there are any. */
  readRows(after: number, end: number): Promise<readonly (StoredRow | UnreadableRow)[]>
  /** Tracked fields that cannot be tracked. */
  findTrackedDamage(): Promise<readonly Damage[]>
  /** Fields of the collection that only earlier schemas had. */
  readRetiredFields(collection: string): Promise<readonly string[]>
  countRecords(): Promise<number>
  /** Records above `afterRef`, ascending, each as it is at one moment. */
  readRecords(afterRef: number, limit: number): Promise<readonly (StoredRecordRow | UnreadableRecord)[]>
  /** Number of rows in the collection's table without a record. */
  countStrayRows(collection: string): Promise<number>
}

/** A finding that only damage can explain. */
export function certain(place: string, problem: string): Damage {
  return { place, problem, isCertain: true }
}
