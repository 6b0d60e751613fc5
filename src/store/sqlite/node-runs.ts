import type { SqliteDatabase } from './driver.ts'

/** Entries of a node with consecutive sequence numbers and consecutive delivery sequences. */
interface Run {
  readonly node: number
  readonly sequenceNumber: number
  readonly first: number
  count: number
}

type RunRow = [sequenceNumber: number, first: number, count: number]

/** A run that contains a sequence number begins less than this many before it. */
const MAX_RUN = 1000

/**
 * Maps nodes to their entries in the log: `_kora_node_runs`. No frequent task reads it, so it is optimised for
 * writing: one row stands for everything that a device has sent in one batch.
 */
export class NodeRuns {
  /** A query for the runs, with the columns `node`, `sequence_number`, `seq` and `count`. */
  readonly runs: string
  readonly #db: SqliteDatabase
  readonly #reading: ReturnType<typeof prepareReading>
  #writing: ReturnType<typeof prepareWriting> | null = null
  /** The current run, not yet stored. */
  #open: Run | null = null

  constructor(db: SqliteDatabase) {
    this.runs = runsOf(db)
    this.#db = db
    this.#reading = prepareReading(db, this.runs)
  }

  /** Adds an entry, which is readable after `flush`. */
  add(node: number, sequenceNumber: number, sequence: number): void {
    const run = this.#open
    if (run !== null && goesOn(run, node, sequenceNumber, sequence)) {
      run.count++
      return
    }
    this.flush()
    this.#open = { node, sequenceNumber, first: sequence, count: 1 }
  }

  /** Call it last in a transaction. */
  flush(): void {
    if (this.#open !== null) this.#insert(this.#open)
    this.#open = null
  }

  /** After a rollback: pending entries are not in the log. */
  discardUnwritten(): void {
    this.#open = null
  }

  has(node: number, sequenceNumber: number, sequence: number): boolean {
    return this.#runOf(node, sequenceNumber, sequence) !== null
  }

  /** Delivery sequences of the node's entries, in the order of their sequence numbers; both bounds included. */
  read(node: number, fromSequence: number, toSequence: number): number[] {
    const entries: { sequenceNumber: number; sequence: number }[] = []
    for (const [first, sequence, count] of this.#reading.between.all(
      node,
      fromSequence - MAX_RUN,
      toSequence,
    )) {
      const end = Math.min(count, toSequence - first + 1)
      for (let offset = Math.max(0, fromSequence - first); offset < end; offset++) {
        entries.push({ sequenceNumber: first + offset, sequence: sequence + offset })
      }
    }
    // Runs of one node overlap only where an id was reclaimed.
    entries.sort((a, b) => a.sequenceNumber - b.sequenceNumber || a.sequence - b.sequence)
    return entries.map(({ sequence }) => sequence)
  }

  /** Delivery sequences of the node's entries, ascending; null when there are more than `most`. */
  readAll(node: number, most: number): number[] | null {
    const sequences: number[] = []
    for (const [, first, count] of this.#reading.all.iterate(node)) {
      if (sequences.length + count > most) return null
      for (let offset = 0; offset < count; offset++) sequences.push(first + offset)
    }
    return sequences.sort((a, b) => a - b)
  }

  remove(node: number, sequenceNumber: number, sequence: number): void {
    const run = this.#runOf(node, sequenceNumber, sequence)
    if (run === null) return
    const before = sequence - run.first
    if (before === 0) this.#write().remove.run(node, run.sequenceNumber, run.first)
    else this.#write().shorten.run(before, node, run.sequenceNumber, run.first)
    const count = run.count - before - 1
    if (count > 0) this.#insert({ node, sequenceNumber: sequenceNumber + 1, first: sequence + 1, count })
  }

  #runOf(node: number, sequenceNumber: number, sequence: number): Run | null {
    const row = this.#reading.holding.get({
      node,
      sequenceNumber,
      earliest: sequenceNumber - MAX_RUN,
      distance: sequence - sequenceNumber,
    })
    if (row === undefined) return null
    return { node, sequenceNumber: row[0], first: row[1], count: row[2] }
  }

  #insert({ node, sequenceNumber, first, count }: Run): void {
    this.#write().insert.run(node, sequenceNumber, first, count)
  }

  #write(): ReturnType<typeof prepareWriting> {
    this.#writing ??= prepareWriting(this.#db)
    return this.#writing
  }
}

function goesOn(run: Run, node: number, sequenceNumber: number, sequence: number): boolean {
  return (
    run.node === node &&
    run.count < MAX_RUN &&
    sequenceNumber === run.sequenceNumber + run.count &&
    sequence === run.first + run.count
  )
}

/** A read-only store may have a layout without runs. */
function runsOf(db: SqliteDatabase): string {
  const hasRuns = db.prepare("SELECT 1 FROM sqlite_master WHERE name = '_kora_node_runs'").get()
  return hasRuns === undefined
    ? 'SELECT node, sequence_number, seq, 1 AS count FROM _kora_operations'
    : 'SELECT node, sequence_number, seq, count FROM _kora_node_runs'
}

function prepareReading(db: SqliteDatabase, runs: string) {
  const rows = <Parameters extends unknown[] | object>(condition: string) =>
    db
      .prepare<Parameters, RunRow>(`SELECT sequence_number, seq, count FROM (${runs}) WHERE ${condition}`)
      .raw()
  return {
    all: rows<[node: number]>('node = ?'),
    between: rows<[node: number, after: number, to: number]>(
      'node = ? AND sequence_number > ? AND sequence_number <= ? ORDER BY sequence_number, seq',
    ),
    holding: rows<{ node: number; sequenceNumber: number; earliest: number; distance: number }>(
      `node = @node AND sequence_number > @earliest AND sequence_number <= @sequenceNumber
        AND seq - sequence_number = @distance AND sequence_number + count > @sequenceNumber
        ORDER BY sequence_number DESC LIMIT 1`,
    ),
  }
}

function prepareWriting(db: SqliteDatabase) {
  return {
    insert: db.prepare('INSERT INTO _kora_node_runs (node, sequence_number, seq, count) VALUES (?, ?, ?, ?)'),
    shorten: db.prepare(
      'UPDATE _kora_node_runs SET count = ? WHERE node = ? AND sequence_number = ? AND seq = ?',
    ),
    remove: db.prepare('DELETE FROM _kora_node_runs WHERE node = ? AND sequence_number = ? AND seq = ?'),
  }
}
