import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test, vi } from 'vitest'
import { createBackup } from '../../src/store/backup/create-backup.ts'
import { restoreBackup } from '../../src/store/backup/restore-backup.ts'
import { createSqliteServerStore } from '../../src/store/sqlite/sqlite-store.ts'
import type { ServerStore } from '../../src/store/store.ts'
import { findViolations } from '../support/checker.ts'
import { sleep, writeUntilStopped } from '../support/cluster.ts'
import { type Device, openDevice } from '../support/device.ts'
import { STORES, temporaryDirectory } from '../support/each-store.ts'
import { appendAll, OperationAuthor, recordIdOf } from '../support/operation-author.ts'
import { openTestDatabase } from '../support/postgres.ts'
import { randomOf, seedOf, startSocketServer } from '../support/socket-client.ts'
import { openTcpProxy } from '../support/tcp-proxy.ts'
import { schemaFile, todoSchema } from '../support/todo-app.ts'
import { IS_FULL, reportFigures, sized, timeoutMs } from '../support/trust.ts'

const WRITERS = sized(3, 10)
const BEFORE = sized(60, 5000) // operations that are stored before the backup begins
const AFTER = sized(20, 200) // and that the devices are ahead of it by, at least
/** Of the log, at a time: a backup of more than one page, and one that is written to between them. */
const PAGE_ROWS = sized(10, 1000)
/** Every so manieth byte of a backup is damaged. */
const DAMAGE_STEP = 1000
/** In its first and its last line, which only the checksum over all of it guards. */
const DAMAGE_STEP_AT_ENDS = 5
const WAIT_MS = sized(60_000, 600_000)

const random = randomOf(seedOf('backups'))

const PAIRS = STORES.flatMap(([from, openSource]) =>
  STORES.map(([to, openTarget]) => ({ from, to, openSource, openTarget })),
)

describe('a backup that is made while clients write', () => {
  test.each(PAIRS)(
    'of $from, restored into $to: a prefix, or nothing; and the devices, which are ahead, bring the rest',
    async ({ from, to, openSource, openTarget }) => {
      await using source = await openSource({ schema: todoSchema, nodeId: 'server-1' })
      await using target = await openTarget({ schema: todoSchema, nodeId: 'server-2' })
      await using proxy = await openTcpProxy([])
      const devices = await openWriters(proxy.port)
      const backup = await backUpUnderLoad(source, devices, (port) => {
        proxy.targets = port === null ? [] : [{ port }]
        proxy.cut()
      })
      const whole = await operationIds(source)

      const damaged = await expectDamageRefused(target, backup)
      await restoreBackup(target, inPieces(backup), 'empty')
      const restored = await operationIds(target)

      expect(restored).toEqual(whole.slice(0, restored.length))
      expect(restored.length).toBeGreaterThanOrEqual(BEFORE)
      expect(whole.length - restored.length).toBeGreaterThanOrEqual(AFTER)

      await using server = await startSocketServer({ store: target, maxOpsPerMinute: 0 })
      proxy.targets = [{ port: portOf(server.url) }]
      const [ahead] = devices
      const watermark = ahead?.watermark ?? 0
      await untilAllAgree(devices, proxy.port, target, new Set(whole))
      expect(ahead?.watermark).toBeGreaterThan(watermark + 1_000_000) // it has read the restored log
      reportFigures(`backup under load, ${from} into ${to}`, {
        operations: whole.length,
        'of them in the backup': restored.length,
        'bytes of it damaged and refused': damaged,
      })
    },
    timeoutMs(60_000),
  )
})

function urlOf(port: number): string {
  return `ws://127.0.0.1:${port}/`
}

function portOf(url: string): number {
  return Number(new URL(url).port)
}

function openWriter(port: number, name: string, isOnline = true): Promise<Device> {
  return openDevice({
    url: urlOf(port),
    schema: todoSchema,
    name,
    token: JSON.stringify({ userId: name, scopes: null }),
    batchSize: 10,
    pipelineDepth: 4,
    isOnline,
  })
}

function openWriters(port: number): Promise<Device[]> {
  return Promise.all(
    Array.from({ length: WRITERS }, (_, index) => openWriter(port, `writer ${index}`, false)),
  )
}

/**
 * A backup of a store that is written to before, while and after it is made, by devices that then hold
 * all of it. Its server is gone at the end.
 */
async function backUpUnderLoad(
  store: ServerStore,
  devices: readonly Device[],
  connectTo: (port: number | null) => void,
): Promise<Buffer> {
  await using server = await startSocketServer({ store, maxOpsPerMinute: 0 })
  connectTo(portOf(server.url))
  for (const device of devices) device.goOnline()
  await Promise.all(devices.map((device) => device.streaming(WAIT_MS)))
  const writers = writeUntilStopped(devices, sized(10, 20))
  await untilStored(store, BEFORE)
  const pieces: Uint8Array[] = []
  for await (const piece of createBackup(inPages(store))) {
    const stored = await store.getOperationCount()
    pieces.push(piece)
    await untilStored(store, stored + 1) // there is no moment of it at which nobody writes
  }
  await untilStored(store, (await store.getOperationCount()) + AFTER)
  writers.stop()
  await Promise.all(devices.map((device) => device.synced(WAIT_MS)))
  const total = await store.getOperationCount()
  await Promise.all(
    devices.map((device) => device.until(() => device.operations.length === total, 'it holds all', WAIT_MS)),
  )
  connectTo(null)
  return Buffer.concat(pieces)
}

/** The store, which reads no more of its log at once: a large one is read in many pages. */
function inPages(store: ServerStore): Parameters<typeof createBackup>[0] {
  return {
    getNodeId: () => store.getNodeId(),
    getFormerNodeIds: () => store.getFormerNodeIds(),
    readRecordedSchema: () => store.readRecordedSchema(),
    getOperationCount: () => store.getOperationCount(),
    getMaxDeliverySequence: () => store.getMaxDeliverySequence(),
    listNodes: (after, limit) => store.listNodes(after, limit),
    listRevocations: (after, limit) => store.listRevocations(after, limit),
    countDropped: () => store.countDropped(),
    listDropped: (after, limit) => store.listDropped(after, limit),
    holdCompaction: () => store.holdCompaction(),
    readOperations: (filter, page) =>
      store.readOperations(filter, { ...page, limit: Math.min(page.limit, PAGE_ROWS) }),
  }
}

async function untilStored(store: ServerStore, count: number): Promise<void> {
  const deadline = performance.now() + WAIT_MS
  while ((await store.getOperationCount()) < count) {
    if (performance.now() > deadline) throw new Error(`Fewer than ${count} operations were stored`)
    await sleep(5)
  }
}

/** @returns how many bytes were damaged, one at a time */
async function expectDamageRefused(target: ServerStore, backup: Buffer): Promise<number> {
  const openRestore = vi.spyOn(target, 'openRestore')
  let count = 0
  for (const position of positionsToDamage(backup)) {
    const damaged = Buffer.from(backup)
    damaged[position] = (damaged[position] ?? 0) ^ (1 << Math.floor(random() * 8))
    await expect(restoreBackup(target, () => inPieces(damaged), 'replace')).rejects.toMatchObject({
      code: 'BACKUP_INVALID',
    })
    count++
  }
  expect(openRestore).not.toHaveBeenCalled()
  openRestore.mockRestore()
  expect(await target.getOperationCount()).toBe(0)
  return count
}

function positionsToDamage(backup: Buffer): ReadonlySet<number> {
  const trailerStart = backup.lastIndexOf('{"end"')
  return new Set([
    ...positionsIn(0, backup.length, DAMAGE_STEP),
    ...positionsIn(0, backup.indexOf('\n') + 1, DAMAGE_STEP_AT_ENDS),
    ...positionsIn(trailerStart, backup.length, DAMAGE_STEP_AT_ENDS),
  ])
}

function positionsIn(start: number, end: number, step: number): number[] {
  const first = start + Math.floor(random() * step)
  return Array.from({ length: Math.max(0, Math.ceil((end - first) / step)) }, (_, i) => first + i * step)
}

async function* inPieces(bytes: Uint8Array, length = 50_000): AsyncGenerator<Uint8Array> {
  for (let start = 0; start < bytes.length; start += length) yield bytes.subarray(start, start + length)
}

async function operationIds(store: ServerStore): Promise<string[]> {
  return (await store.getOperationsAfterDelivery(0, 1_000_000)).map(({ operation }) => operation.id)
}

/** Everything that was ever acknowledged is stored again, and a fresh device has what the others have. */
async function untilAllAgree(
  devices: readonly Device[],
  port: number,
  store: ServerStore,
  acknowledged: ReadonlySet<string>,
): Promise<void> {
  await Promise.all(devices.map((device) => device.streaming(WAIT_MS)))
  await untilStored(store, acknowledged.size)
  await using fresh = await openWriter(port, 'fresh')
  fresh.insert('todos', { title: 'afterwards', tags: [] })
  const { id } = fresh.operations.at(-1) ?? { id: '' }
  await Promise.all([...devices, fresh].map((device) => device.received(id, WAIT_MS)))
  await Promise.all([...devices, fresh].map((device) => device.synced(WAIT_MS)))
  expect(new Set(await operationIds(store))).toEqual(new Set([...acknowledged, id]))
  expect(await findViolations({ store, devices: [fresh], collections: ['todos'], isAtRest: true })).toEqual(
    [],
  )
  for (const device of devices) {
    expect(sortedById(device)).toEqual(sortedById(fresh))
    await device.close()
  }
}

function sortedById(device: Device) {
  return device.records('todos').toSorted((a, b) => (a.id < b.id ? -1 : 1))
}

// ── the memory that large ones take ──────────────────────────────────────────────────────────

const BIN = fileURLToPath(new URL('../../bin/kora-server.js', import.meta.url))
const BIG_BYTES = 2_000_000_000
const MAX_MEMORY_MB = 256
/** What is left of a value when it was compressed. */
const VALUE_BYTES = 6000
const BATCH = 500

describe.runIf(IS_FULL)('a backup of two gigabytes', () => {
  test(
    'is made of SQLite, and restored into SQLite and PostgreSQL and made of that, in little memory',
    async () => {
      using directory = temporaryDirectory()
      await using database = await openTestDatabase()
      const path = (name: string): string => join(directory.path, name)
      writeFileSync(path('schema.mjs'), schemaFile())
      const operations = Math.ceil(BIG_BYTES / VALUE_BYTES)
      await fillWithNoise(path('big.db'), operations)
      const run = (name: string, args: readonly string[]) => runMeasured(name, args, directory.path)

      const figures = {
        ...(await run('backup of SQLite', ['backup', 'big.backup', '--db', 'big.db'])),
        ...(await run('restore into SQLite', [
          'restore',
          'big.backup',
          '--db',
          'new.db',
          '--schema',
          'schema.mjs',
        ])),
        ...(await run('restore into PostgreSQL', [
          ...['restore', 'big.backup', '--db', database.connectionString, '--schema', 'schema.mjs'],
        ])),
        ...(await run('backup of PostgreSQL', ['backup', 'again.backup', '--db', database.connectionString])),
      }

      const { size } = statSync(path('big.backup'))
      expect(size).toBeGreaterThan(BIG_BYTES)
      await run('look', ['backup', '--verify', 'again.backup'])
      const restored = createSqliteServerStore({ filename: path('new.db'), readOnly: true })
      expect(await restored.getOperationCount()).toBe(operations)
      await restored.close()
      reportFigures('backups of 2 GB', { operations, 'MB of the file': Math.round(size / 1e6), ...figures })
    },
    timeoutMs(60_000),
  )
})

async function fillWithNoise(filename: string, operations: number): Promise<void> {
  const store = createSqliteServerStore({ filename, durability: 'normal' })
  const author = new OperationAuthor('a')
  for (let start = 0; start < operations; start += BATCH) {
    const batch = Array.from({ length: Math.min(BATCH, operations - start) }, (_, index) =>
      author.insert(recordIdOf(`${start + index}`), {
        title: randomBytes(VALUE_BYTES).toString('base64'),
        done: false,
        count: 0,
        tags: [],
      }),
    )
    await appendAll(store, batch)
  }
  await store.close()
}

/** Runs a command to its end, and expects it to have kept to its memory. */
async function runMeasured(
  name: string,
  args: readonly string[],
  cwd: string,
): Promise<{ readonly [figure: string]: number }> {
  const startedAt = performance.now()
  const child = spawn(process.execPath, [BIN, ...args], { cwd, stdio: ['ignore', 'ignore', 'inherit'] })
  const exited = once(child, 'exit')
  let peakMb = 0
  const watch = setInterval(() => {
    peakMb = Math.max(peakMb, peakMemoryMb(child.pid ?? 0))
  }, 50)
  const [code] = await exited
  clearInterval(watch)
  expect({ name, code }).toEqual({ name, code: 0 })
  expect(peakMb).toBeGreaterThan(0)
  expect(peakMb).toBeLessThan(MAX_MEMORY_MB)
  return { [`MB, ${name}`]: peakMb, [`s, ${name}`]: Math.round((performance.now() - startedAt) / 1000) }
}

/** The most that a process has ever held; 0 when it is gone. */
function peakMemoryMb(pid: number): number {
  try {
    const [, kilobytes = '0'] = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? []
    return Math.round(Number(kilobytes) / 1000)
  } catch {
    return 0
  }
}
