import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { t } from '../../src/core/schema/builders.ts'
import { defineSchema } from '../../src/core/schema/define-schema.ts'
import { createView } from '../../src/core/view.ts'
import { createPostgresServerStore } from '../../src/store/postgres/postgres-store.ts'
import { createSqliteServerStore } from '../../src/store/sqlite/sqlite-store.ts'
import type { ServerStore } from '../../src/store/store.ts'
import { temporaryDirectory } from '../support/each-store.ts'
import { appendAll, OperationAuthor, recordIdOf, requestOf } from '../support/operation-author.ts'
import { openTestDatabase, type TestDatabase } from '../support/postgres.ts'
import { forgetPeak, mebibytes, memoryOf } from '../support/process-memory.ts'
import { Workspace } from '../support/terminal.ts'
import { schemaFile } from '../support/todo-app.ts'
import { reportFigures, sized, timeoutMs } from '../support/trust.ts'

const RECORDS = sized(6000, 1_000_000)
const MAX_PEAK_MB = 256 // the states of 1,000,000 records alone would take several times as much

const BIN = fileURLToPath(new URL('../../bin/kora-server.js', import.meta.url))
const TITLE = { title: t.string() }
const EARLIER = defineSchema({ version: 1, collections: { todos: { fields: TITLE } } })
const NEXT = defineSchema({
  version: 2,
  collections: { todos: { fields: { ...TITLE, points: t.number().optional() } } },
})

/** Operations that a client of the next version has made already, one per record, as if they had come one by one. */
async function fill(database: TestDatabase): Promise<void> {
  const store = await createPostgresServerStore({ connectionString: database.connectionString })
  await store.setSchema(EARLIER)
  const operation = new OperationAuthor('a').insert(recordIdOf('first'), {
    title: 'a note',
    points: 7,
  })
  await store.append([requestOf(operation)])
  await store.close()
  const copies = RECORDS - 1
  const id = "sha256(convert_to('operation ' || i, 'UTF8'))"
  const renamed = (text: string): string =>
    `replace(replace(${text}, '${operation.recordId}', md5(i::text)::uuid::text), '${operation.id}', encode(${id}, 'hex'))`
  await database.query(
    `INSERT INTO _kora_operations
      SELECT seq + i, wall_time, sequence_number + i, node, record + i, collection, kind, ${id}, scope,
        replace(${renamed('wire_json')}, '"sequenceNumber":1', '"sequenceNumber":' || i + 1)
      FROM _kora_operations, generate_series(1, ${copies}) i`,
  )
  await database.query(
    `INSERT INTO _kora_records
      SELECT id + i, collection, decode(md5(i::text), 'hex'), ${renamed('state')}
      FROM _kora_records, generate_series(1, ${copies}) i`,
  )
  await database.query(
    `INSERT INTO todos (id, title, _created_at, _updated_at, _deleted)
      SELECT md5(i::text)::uuid::text, title, _created_at, _updated_at, _deleted
      FROM todos, generate_series(1, ${copies}) i`,
  )
  await database.query(
    `UPDATE _kora_counters SET delivery_sequence = delivery_sequence + ${copies},
      operation_count = operation_count + ${copies}, last_record = last_record + ${copies}`,
  )
  await database.query(
    `UPDATE _kora_nodes SET max_sequence = max_sequence + ${copies} WHERE max_sequence > 0`,
  )
  await database.query('ANALYZE')
}

/** `kora-server migrate` to the next schema, watched while it runs. */
class Migration {
  peakMb = 0
  readonly #process: ChildProcess
  readonly #exited: Promise<number | null>

  constructor(directory: string, database: TestDatabase) {
    this.#process = spawn(process.execPath, [BIN, 'migrate', '--schema', 'next.mjs'], {
      cwd: directory,
      env: { ...process.env, DATABASE_URL: database.connectionString },
      stdio: 'ignore',
    })
    const timer = setInterval(() => this.#sample(), 50)
    this.#exited = new Promise((resolve) => {
      this.#process.on('close', (code) => {
        clearInterval(timer)
        resolve(code)
      })
    })
  }

  /** @returns the exit code; null when it was killed */
  get exited(): Promise<number | null> {
    return this.#exited
  }

  kill(): Promise<number | null> {
    this.#process.kill('SIGKILL')
    return this.#exited
  }

  #sample(): void {
    try {
      const status = readFileSync(join('/proc', String(this.#process.pid), 'status'), 'utf8')
      this.peakMb = Math.max(this.peakMb, Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? 0) / 1024)
    } catch {
      // It has ended, or this system does not tell.
    }
  }
}

/** Number of the last record that is filled, 0 before the first step; null when nothing is to be filled. */
async function filledThrough(database: TestDatabase): Promise<number | null> {
  const [row] = await database.query("SELECT value FROM _kora_meta WHERE key = 'schema_change'")
  if (row === undefined) return null
  const [work] = JSON.parse(String(row.value)) as { doneThrough: number }[]
  return work?.doneThrough ?? 0
}

/** Writes one record after the other. */
function writeUntilStopped(server: ServerStore) {
  const author = new OperationAuthor('b')
  let isStopped = false
  let written = 0
  let longestMs = 0
  const done = (async () => {
    while (!isStopped) {
      const startedAt = performance.now()
      await server.append([
        requestOf(author.insert(recordIdOf(`${written}`), { title: 'written meanwhile' })),
      ])
      longestMs = Math.max(longestMs, performance.now() - startedAt)
      written++
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  })()
  return {
    get written() {
      return written
    },
    async stop() {
      isStopped = true
      await done
      return { written, longestMs }
    },
  }
}

test(
  'a table of many records is filled in constant memory, also after a kill, beside a server that goes on',
  async () => {
    await using database = await openTestDatabase()
    await fill(database)
    const { directory } = new Workspace({ files: { 'next.mjs': schemaFile(NEXT) } })
    const server = await createPostgresServerStore({ connectionString: database.connectionString })
    await server.setSchema(EARLIER)
    const writing = writeUntilStopped(server)

    const startedAt = performance.now()
    const first = new Migration(directory, database)
    const target = RECORDS / 10
    await expect
      .poll(() => filledThrough(database), { timeout: 120_000, interval: 5 })
      .toBeGreaterThan(target)
    await first.kill()
    const keptThrough = await filledThrough(database)
    expect(keptThrough).toBeGreaterThan(target)
    expect(keptThrough).toBeLessThan(RECORDS)
    const writtenBefore = writing.written

    const second = new Migration(directory, database)
    await expect.poll(() => filledThrough(database), { timeout: 60_000 }).not.toBe(keptThrough)
    expect(await second.exited).toBe(0)
    const seconds = (performance.now() - startedAt) / 1000
    const { written, longestMs } = await writing.stop()
    await server.close()

    expect(await filledThrough(database)).toBeNull()
    const [counts] = await database.query(
      `SELECT count(*) FILTER (WHERE points = 7)::int AS filled, count(*)::int AS total FROM todos`,
    )
    expect(counts).toEqual({ filled: RECORDS, total: RECORDS + written })
    expect(written).toBeGreaterThan(writtenBefore)
    const peakMb = Math.max(first.peakMb, second.peakMb)
    expect(peakMb).toBeLessThan(MAX_PEAK_MB)
    reportFigures('backfill on PostgreSQL', {
      records: RECORDS,
      seconds: Math.round(seconds),
      'MB peak memory': Math.round(peakMb),
      'operations written meanwhile': written,
      'ms longest wait of these': Math.round(longestMs),
    })
  },
  timeoutMs(240_000),
)

const OPERATIONS_AT_ONCE = 500
/** Beyond what the process holds when it begins; of a log in memory it would be hundreds. */
const MAX_GROWTH_BYTES = 128 * 1024 * 1024

test(
  'a long log is indexed by a field that is tracked late in constant memory, beside one that writes (SQLite)',
  async () => {
    using directory = temporaryDirectory()
    const store = createSqliteServerStore({
      filename: join(directory.path, 'kora.db'),
      durability: 'normal',
    })
    await store.setSchema(EARLIER)
    const author = new OperationAuthor('a')
    for (let from = 0; from < RECORDS; from += OPERATIONS_AT_ONCE) {
      const numbers = Array.from({ length: OPERATIONS_AT_ONCE }, (_, index) => from + index)
      await appendAll(
        store,
        numbers.map((number) => author.insert(recordIdOf(`record ${number}`), { title: `${number % 1000}` })),
      )
    }
    const before = memoryOf(process.pid)
    forgetPeak(process.pid)
    const writing = writeUntilStopped(store)

    const startedAt = performance.now()
    await store.trackScopeField('todos', 'title')
    const seconds = (performance.now() - startedAt) / 1000
    const { written, longestMs } = await writing.stop()

    const { peakBytes } = memoryOf(process.pid)
    reportFigures('a field tracked late, SQLite', {
      operations: RECORDS,
      seconds: Math.round(seconds),
      'MiB before': mebibytes(before.rssBytes),
      'MiB at the peak': mebibytes(peakBytes),
      'operations written meanwhile': written,
      'ms longest wait of these': Math.round(longestMs),
    })
    expect(peakBytes - before.rssBytes).toBeLessThan(MAX_GROWTH_BYTES)
    expect(longestMs).toBeLessThan(2000)
    const page = await store.readDelivery({
      after: 0,
      view: createView({ todos: { title: '7' } }),
      limit: RECORDS,
      maxBytes: Number.MAX_SAFE_INTEGER,
    })
    expect(page.entries).toHaveLength(RECORDS / 1000)
    await store.close()
  },
  timeoutMs(60_000),
)
