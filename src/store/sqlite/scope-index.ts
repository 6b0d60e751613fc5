import type { IndexKey } from '../delivery/plan-streams.ts'
import { LIMIT, type SqliteDatabase } from './driver.ts'

/** Entries under one key with consecutive delivery sequences. */
interface Run {
  readonly key: string
  readonly first: number
  count: number
}

type RunRow = [first: number, count: number]

// A page needs some hundred sequences; if every run has a single entry, that takes a few of these reads.
const RUNS_PER_READ = 256

/**
 * Maps the values of tracked fields to their entries in the log: `_kora_scope`. What a device sends in one batch
 * mostly belongs to one user, so one row holds a run of entries instead of a single one.
 */
export class ScopeIndex {
  readonly #db: SqliteDatabase
  readonly #reading: ReturnType<typeof prepareReading>
  #writing: ReturnType<typeof prepareWriting> | null = null
  /** By tracked field: the current run, not yet stored. */
  readonly #open = new Map<number, Run>()

  constructor(db: SqliteDatabase) {
    this.#db = db
    this.#reading = prepareReading(db)
  }

  /** Adds an entry, which is readable after `flush`. */
  add({ fieldId, key }: IndexKey, sequence: number): void {
    const run = this.#open.get(fieldId)
    if (run !== undefined && run.key === key && sequence === run.first + run.count) {
      run.count++
      return
    }
    if (run !== undefined) this.#insert(fieldId, run)
    this.#open.set(fieldId, { key, first: sequence, count: 1 })
  }

  /** Call it last in a transaction. */
  flush(): void {
    for (const [fieldId, run] of this.#open) this.#insert(fieldId, run)
    this.#open.clear()
  }

  /** After a rollback: pending entries are not in the log. */
  discardUnwritten(): void {
    this.#open.clear()
  }

  has(key: IndexKey, sequence: number): boolean {
    return this.#runAt(key, sequence) !== null
  }

  /** Delivery sequences above `after`, ascending. */
  read(key: IndexKey, after: number, limit: number): number[] {
    const sequences: number[] = []
    const begun = this.#runAt(key, after)
    if (begun !== null) pushFrom(sequences, after + 1, begun.first + begun.count, limit)
    for (let position = sequences.at(-1) ?? after; sequences.length < limit; ) {
      const wanted = Math.min(limit - sequences.length, RUNS_PER_READ)
      const runs = this.#reading.runsAfter.all(key.fieldId, key.key, position, wanted)
      for (const [first, count] of runs) pushFrom(sequences, first, first + count, limit)
      position = runs.at(-1)?.[0] ?? position
      if (runs.length < wanted) break
    }
    return sequences
  }

  remove(key: IndexKey, sequence: number): void {
    const run = this.#runAt(key, sequence)
    if (run === null) return
    const { first, count } = run
    const before = sequence - first
    if (before === 0) this.#write().remove.run(key.fieldId, key.key, first)
    else this.#write().shorten.run(before, key.fieldId, key.key, first)
    if (before + 1 < count) {
      this.#insert(key.fieldId, { key: key.key, first: sequence + 1, count: count - before - 1 })
    }
  }

  #runAt(key: IndexKey, sequence: number): Run | null {
    const row = this.#reading.runAtOrBefore.get(key.fieldId, key.key, sequence)
    if (row === undefined) return null
    const [first, count] = row
    return sequence < first + count ? { key: key.key, first, count } : null
  }

  #insert(fieldId: number, { key, first, count }: Run): void {
    this.#write().insert.run(fieldId, key, first, count)
  }

  #write(): ReturnType<typeof prepareWriting> {
    this.#writing ??= prepareWriting(this.#db)
    return this.#writing
  }
}

/** Adds the numbers from `from` up to, not including, `end`, until there are `limit`. */
function pushFrom(sequences: number[], from: number, end: number, limit: number): void {
  for (let next = from; next < end && sequences.length < limit; next++) sequences.push(next)
}

function prepareReading(db: SqliteDatabase) {
  // A read-only store may have a layout without runs. A pragma instead of its table, because a collection may be
  // called pragma_table_info.
  const present = db.pragma('table_info(_kora_scope)') as { readonly name: string }[]
  const columns = present.some(({ name }) => name === 'count') ? 'seq, count' : 'seq, 1'
  const runs = (condition: string) =>
    db
      .prepare<unknown[], RunRow>(
        `SELECT ${columns} FROM _kora_scope WHERE field = ? AND key = ? AND ${condition}`,
      )
      .raw()
  return {
    runAtOrBefore: runs('seq <= ? ORDER BY seq DESC LIMIT 1'),
    runsAfter: runs(`seq > ? ORDER BY seq ${LIMIT}`),
  }
}

function prepareWriting(db: SqliteDatabase) {
  return {
    insert: db.prepare(
      `INSERT INTO _kora_scope (field, key, seq, count) VALUES (?, ?, ?, ?)
        ON CONFLICT DO UPDATE SET count = max(count, excluded.count)`,
    ),
    shorten: db.prepare('UPDATE _kora_scope SET count = ? WHERE field = ? AND key = ? AND seq = ?'),
    remove: db.prepare('DELETE FROM _kora_scope WHERE field = ? AND key = ? AND seq = ?'),
  }
}
