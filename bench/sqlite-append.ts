/**
 * How fast the SQLite store appends, against a bare loop that writes the same rows with the same
 * driver; on an empty log and on a large one.
 *
 *   npx tsx bench/sqlite-append.ts [operations] [operations stored before]
 */
import { createHash, randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { Operation } from '../src/core/operation.ts'
import { defineSchema, t } from '../src/core/schema/define-schema.ts'
import { systemRuntime } from '../src/core/system-runtime.ts'
import { operationToWireJson } from '../src/protocol/parse-operation.ts'
import { loadSqliteDriver } from '../src/store/sqlite/driver.ts'
import { createSqliteServerStore } from '../src/store/sqlite/sqlite-store.ts'
import type { AppendRequest } from '../src/store/store.ts'

const BATCH = 100

const schema = defineSchema({
  version: 1,
  collections: {
    todos: {
      fields: {
        title: t.string(),
        completed: t.boolean().default(false),
        userId: t.string(),
        position: t.number(),
      },
      indexes: ['userId', 'completed'],
    },
  },
})

const runtime = systemRuntime()
const nodeId = runtime.uuid()
let sequenceNumber = 0

function insertRequest(): AppendRequest {
  sequenceNumber++
  const operation: Operation = {
    id: randomBytes(32).toString('hex'),
    nodeId,
    type: 'insert',
    collection: 'todos',
    recordId: runtime.uuid(),
    data: {
      title: `Buy milk and ${createHash('md5').update(String(sequenceNumber)).digest('hex')}`,
      completed: sequenceNumber % 3 === 0,
      userId: `user-${sequenceNumber % 50}`,
      position: sequenceNumber / 7,
    },
    previousData: null,
    timestamp: { wallTime: Date.now(), logical: sequenceNumber % 1000, nodeId },
    sequenceNumber,
    causalDeps: [randomBytes(32).toString('hex')],
    schemaVersion: 1,
  }
  return { operation, wireJson: operationToWireJson(operation), writeScope: null, advancesVector: true }
}

function batchesOf(count: number): AppendRequest[][] {
  return Array.from({ length: Math.ceil(count / BATCH) }, () => Array.from({ length: BATCH }, insertRequest))
}

async function measureStore(filename: string, count: number): Promise<Measured> {
  const store = createSqliteServerStore({ filename })
  await store.setSchema(schema)
  const batches = batchesOf(count)
  const stopWatch = startWatch(count)
  for (const batch of batches) await store.append(batch)
  const result = stopWatch()
  await store.close()
  return result
}

/** What has to be written, and nothing else: the log by sequence, its lookups, the table. */
function measureBareLoop(filename: string, count: number): Measured {
  const db = new (loadSqliteDriver())(filename)
  db.pragma('journal_mode = WAL')
  db.pragma('synchronous = FULL')
  db.pragma('cache_size = -49152')
  db.pragma('wal_autocheckpoint = 4000')
  db.exec(`
    CREATE TABLE log (seq INTEGER PRIMARY KEY, id BLOB, node INTEGER, sequence INTEGER, wire_json TEXT);
    CREATE INDEX log_id ON log (id);
    CREATE TABLE todos (id TEXT PRIMARY KEY, title TEXT, completed INTEGER, userId TEXT, position REAL,
      _created_at INTEGER, _updated_at INTEGER, _deleted INTEGER);
    CREATE INDEX todos_user ON todos (userId);
    CREATE INDEX todos_completed ON todos (completed);`)
  const insertLog = db.prepare('INSERT INTO log VALUES (?, ?, ?, ?, ?)')
  const insertRow = db.prepare('INSERT INTO todos VALUES (?, ?, ?, ?, ?, ?, ?, 0)')
  const batches = batchesOf(count)
  let seq = 0
  const write = db.transaction((batch: AppendRequest[]) => {
    for (const { operation, wireJson } of batch) {
      const { data, timestamp } = operation
      insertLog.run(++seq, Buffer.from(operation.id, 'hex'), 1, operation.sequenceNumber, wireJson)
      insertRow.run(
        operation.recordId,
        data?.title,
        data?.completed ? 1 : 0,
        data?.userId,
        data?.position,
        timestamp.wallTime,
        timestamp.wallTime,
      )
    }
  })
  const stopWatch = startWatch(count)
  for (const batch of batches) write(batch)
  const result = stopWatch()
  db.close()
  return result
}

interface Measured {
  readonly perSecond: number
  /** Seconds of processor time; drifts less with what else the machine does. */
  readonly cpuPer10k: number
}

function startWatch(operations: number): () => Measured {
  const startedAt = performance.now()
  const cpu = process.cpuUsage()
  return () => {
    const seconds = (performance.now() - startedAt) / 1000
    const { user, system } = process.cpuUsage(cpu)
    return { perSecond: operations / seconds, cpuPer10k: ((user + system) / 1e6 / operations) * 10_000 }
  }
}

const { positionals } = parseArgs({ allowPositionals: true })
const count = Number(positionals[0] ?? 20_000)
const before = Number(positionals[1] ?? 200_000)
const directory = mkdtempSync(join(tmpdir(), 'kora-bench-'))
const show = (label: string, { perSecond, cpuPer10k }: Measured): void => {
  const rate = Math.round(perSecond).toLocaleString('en').padStart(8)
  process.stdout.write(`${label.padEnd(28)} ${rate} operations/s, ${cpuPer10k.toFixed(2)} s CPU per 10,000\n`)
}
const showShare = (label: string, part: Measured, whole: Measured): void => {
  const share = (part.perSecond / whole.perSecond).toFixed(2)
  const cpu = (part.cpuPer10k / whole.cpuPer10k).toFixed(2)
  process.stdout.write(`${label.padEnd(28)} ${share.padStart(8)} of the rate, ${cpu} of the CPU\n`)
}
try {
  process.stdout.write(`operations of ${insertRequest().wireJson.length} bytes in batches of ${BATCH}\n`)
  measureBareLoop(join(directory, 'warm.db'), 2000)
  await measureStore(join(directory, 'warm-store.db'), 2000)
  const bare = measureBareLoop(join(directory, 'bare.db'), count)
  show('bare loop, empty', bare)
  const file = join(directory, 'store.db')
  const empty = await measureStore(file, count)
  show('store, empty', empty)
  showShare('store : bare loop', empty, bare)
  if (before > 0) {
    show(`store, filling to ${before}`, await measureStore(file, before))
    const large = await measureStore(file, count)
    show(`store, on ${before + count}`, large)
    showShare('store large : empty', large, empty)
  }
} finally {
  rmSync(directory, { recursive: true, force: true })
}
