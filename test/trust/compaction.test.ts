import { cpSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { systemRuntime } from '../../src/core/system-runtime.ts'
import { createPostgresServerStore, createSqliteServerStore } from '../../src/index.ts'
import { rulesFor, runCompaction } from '../../src/store/compaction/run-compaction.ts'
import { MemoryServerStore } from '../../src/store/memory/memory-store.ts'
import { loadSqliteDriver, type SqliteDatabase } from '../../src/store/sqlite/driver.ts'
import type { ServerStore } from '../../src/store/store.ts'
import { findViolations } from '../support/checker.ts'
import { sleep } from '../support/cluster.ts'
import { type Daemon, type DaemonOptions, runCli, startDaemon } from '../support/daemon.ts'
import { type Device, type DeviceOptions, openDevice } from '../support/device.ts'
import { DiskControl, DiskShim, hasDiskShim } from '../support/disk/disk-shim.ts'
import { temporaryDirectory } from '../support/each-store.ts'
import { holdLock } from '../support/hold-lock.ts'
import { canIsolate, insideOf, openIsolatedHost } from '../support/isolated-host.ts'
import { appendAll, OperationAuthor, recordIdOf } from '../support/operation-author.ts'
import { openTestDatabase, PostgresServer, type TestDatabase } from '../support/postgres.ts'
import { randomOf, seedOf } from '../support/socket-client.ts'
import { integrityOf } from '../support/sqlite-file.ts'
import { schemaFile, todoSchema } from '../support/todo-app.ts'
import { IS_FULL, reportFigures, sized, timeoutMs } from '../support/trust.ts'

const RECORDS = sized(60, 200) // two steps of a compaction, or six
const EDITS = sized(40, 60) // of each record
const KILLS = sized(2, 100)
const FIRE_MS = sized(3000, 180_000)
const WAIT_MS = sized(60_000, 600_000)
const SIGKILL = 9

const random = randomOf(seedOf('compaction'))

// ── what is compacted ────────────────────────────────────────────────────────────────────────

const CONFIG = `export default { schema: './schema.mjs', limits: { maxOpsPerMinute: 0 } }\n`
const COMPACTING = `export default {
  schema: './schema.mjs',
  limits: { maxOpsPerMinute: 0 },
  retention: { automatic: true, every: '1s', keepFor: '1s' },
}
`

function daemonOptions(config: string, env: { readonly [name: string]: string } = {}): DaemonOptions {
  return { files: { 'schema.mjs': schemaFile(), 'kora.config.mjs': config }, env }
}

function openClient(url: string, options: Partial<DeviceOptions> = {}): Promise<Device> {
  return openDevice({ url, schema: todoSchema, batchSize: 100, pipelineDepth: 4, ...options })
}

/**
 * A writer that edits its records over and over, and a device that knows half of that and has changed
 * some of them since, offline. Both are gone afterwards.
 */
async function editOften(url: string): Promise<readonly Device[]> {
  const [writer, early] = await Promise.all(['writer', 'early'].map((name) => openClient(url, { name })))
  if (writer === undefined || early === undefined) throw new Error('Two devices were opened a moment ago')
  const ids = Array.from({ length: RECORDS }, (_, n) => writer.insert('todos', { title: `${n}`, tags: [] }))
  const edit = (round: number): void => {
    for (const id of ids) {
      if (round % 10 === 9) addTag(writer, id, `${round}`)
      else writer.update('todos', id, titleOf(round))
    }
  }
  for (let round = 0; round < EDITS / 2; round++) edit(round)
  await writer.synced(WAIT_MS)
  const { length } = writer.operations
  await early.until(() => early.operations.length === length, 'it has half of it', WAIT_MS)
  early.goOffline()
  for (const id of ids.slice(0, 10)) {
    early.update('todos', id, { title: 'offline' })
    addTag(early, id, 'offline')
  }
  early.delete('todos', ids[10] ?? '')
  for (let round = EDITS / 2; round < EDITS; round++) edit(round)
  for (const id of ids.slice(11, 15)) writer.delete('todos', id)
  await writer.synced(WAIT_MS)
  writer.goOffline()
  return [writer, early]
}

function titleOf(round: number) {
  return round % 3 === 0 ? { title: `edit ${round}`, done: round % 2 === 0 } : { title: `edit ${round}` }
}

/** Elements are added only: clients merge pairwise, and need not agree on what some remove and others keep. */
function addTag(device: Device, id: string, tag: string): void {
  const tags = (device.record('todos', id)?.tags ?? []) as readonly string[] // as the schema says
  if (!tags.includes(tag)) device.update('todos', id, { tags: [...tags, tag] })
}

function compact(store: ServerStore) {
  return runCompaction(store, rulesFor({ keepForMs: 0, tombstonesMs: null }, 0), { runtime: systemRuntime() })
}

/** What a compaction changes. */
async function compactedContentOf(store: ServerStore) {
  const log = await store.getOperationsAfterDelivery(0, 1_000_000)
  const dropped = await store.listDropped(0, 1_000_000)
  return {
    log: log.map(({ operation }) => operation.id),
    dropped: dropped.map(({ operationId }) => operationId).sort(),
  }
}

/** What it leaves as it is. */
async function lastingContentOf(store: ServerStore) {
  const records = await store.queryCollection('todos', { includeDeleted: true, limit: 100_000 })
  return {
    records: records.toSorted((a, b) => (String(a.id) < String(b.id) ? -1 : 1)),
    vector: [...(await store.getVersionVector())].sort(),
    end: await store.getMaxDeliverySequence(),
  }
}

/** What an undisturbed compaction comes to: on another kind of store, from a backup. */
async function expectedContentOf(store: ServerStore) {
  const reference = new MemoryServerStore()
  await reference.setSchema(todoSchema)
  await reference.importBackup(await store.exportBackup())
  const all = await compactedContentOf(reference)
  await compact(reference)
  return {
    all: new Set(all.log),
    lasting: await lastingContentOf(store),
    end: await compactedContentOf(reference),
  }
}

type ExpectedContent = Awaited<ReturnType<typeof expectedContentOf>>

/** After a kill: nothing but a part of what may go is gone. */
async function expectUnharmed(store: ServerStore, expected: ExpectedContent): Promise<number> {
  const { log, dropped } = await compactedContentOf(store)
  expect(new Set([...log, ...dropped])).toEqual(expected.all)
  expect(log.length + dropped.length).toBe(expected.all.size)
  const droppable = new Set(expected.end.dropped)
  expect(dropped.filter((id) => !droppable.has(id))).toEqual([])
  expect(await lastingContentOf(store)).toEqual(expected.lasting)
  expect(await findViolations({ store, devices: [], collections: ['todos'] })).toEqual([])
  return dropped.length
}

async function expectComplete(store: ServerStore, expected: ExpectedContent): Promise<void> {
  expect(await compactedContentOf(store)).toEqual(expected.end)
  expect(await lastingContentOf(store)).toEqual(expected.lasting)
  const damage: string[] = []
  await store.findDamage?.({
    onDamage: ({ place, problem, isCertain }) => {
      if (isCertain) damage.push(`${place}: ${problem}`)
    },
  })
  expect(damage).toEqual([])
}

/** All come back, a fresh one too, and everybody ends up with the tables of the server. */
async function expectAgreement(
  devices: readonly Device[],
  urls: readonly string[],
  openStore: () => Promise<ServerStore>,
): Promise<void> {
  const [url = ''] = urls
  for (const device of devices) device.goOnline()
  await Promise.all(devices.map((device) => device.synced(WAIT_MS)))
  await using fresh = await openClient(url, { name: 'fresh' })
  await using freshLegacy = await openClient(url, { name: 'fresh and legacy', isLegacy: true })
  await using last = await openClient(url, { name: 'last' })
  last.insert('todos', { title: 'after all else' })
  const { id } = last.operations.at(-1) ?? { id: '' }
  const all = [...devices, fresh, freshLegacy, last]
  await Promise.all(all.map((device) => device.received(id, WAIT_MS)))
  await last.synced(WAIT_MS)
  const store = await openStore()
  try {
    expect(await findViolations({ store, devices: all, collections: ['todos'], isAtRest: true })).toEqual([])
  } finally {
    await store.close()
  }
}

// ── a compaction that is killed ──────────────────────────────────────────────────────────────

describe('a compaction that is killed in the middle', () => {
  test.runIf(hasDiskShim('compaction'))(
    'on SQLite, at any write or sync, leaves a sound store, and the next one completes it',
    async () => {
      using shim = new DiskShim()
      await using daemon = await startDaemon(daemonOptions(CONFIG))
      const devices = await editOften(daemon.url)
      await daemon.kill()
      const open = async (directory: string) => {
        const store = createSqliteServerStore({ filename: join(directory, 'kora-server.db') })
        await store.setSchema(todoSchema)
        return store
      }
      const origin = await open(daemon.directory)
      const expected = await expectedContentOf(origin)
      await origin.close()
      const directory = join(shim.directory, 'stores')
      const path = join(shim.directory, 'control')
      using control = new DiskControl(path, { isNew: true })
      const compactUnderShim = (call: 'write' | 'sync', at: number) => {
        rmSync(directory, { recursive: true, force: true })
        mkdirSync(directory)
        writeFileSync(join(directory, 'schema.mjs'), schemaFile())
        cpSync(join(daemon.directory, 'kora-server.db'), join(directory, 'kora-server.db'))
        control.arm(call, at, -SIGKILL)
        return runCli(['compact', '--schema', 'schema.mjs'], {
          directory,
          env: shim.failing(directory, path),
        })
      }
      expect(await compactUnderShim('write', 0)).toMatchObject({ code: 0 })
      const { writes, syncs } = control.counts()

      let partial = 0
      for (let kill = 0; kill < KILLS; kill++) {
        const [call, count] = kill % 5 === 4 ? (['sync', syncs] as const) : (['write', writes] as const)
        // Evenly over the run, so that few of them meet its beginning, middle and end.
        const at = 1 + Math.floor(((kill + random()) / KILLS) * count)
        expect(await compactUnderShim(call, at)).toMatchObject({ signal: 'SIGKILL' })
        expect(integrityOf(join(directory, 'kora-server.db'))).toBe('ok')
        const store = await open(directory)
        const dropped = await expectUnharmed(store, expected)
        if (dropped > 0 && dropped < expected.end.dropped.length) partial++
        await compact(store)
        await expectComplete(store, expected)
        await store.close()
      }

      expect(await compactUnderShim('write', Math.ceil(writes / 2))).toMatchObject({ signal: 'SIGKILL' })
      for (const suffix of ['', '-wal', '-shm'])
        rmSync(join(daemon.directory, `kora-server.db${suffix}`), { force: true })
      cpSync(directory, daemon.directory, { recursive: true })
      await daemon.start()
      expect(await daemon.run(['compact'])).toMatchObject({ code: 0 })
      await expectAgreement(devices, [daemon.url], () => open(daemon.directory))
      await daemon.kill()
      expect(await daemon.run(['check', '--deep'])).toMatchObject({ code: 0 })
      reportFigures('compaction killed, SQLite', {
        operations: expected.all.size,
        'of them dropped': expected.end.dropped.length,
        'writes and syncs of a run': writes + syncs,
        kills: KILLS,
        'that left a part done': partial,
      })
    },
    timeoutMs(120_000),
  )

  test(
    'on PostgreSQL, at each statement of a step, leaves a sound store, and the next one completes it',
    async () => {
      await using database = await openTestDatabase()
      const { connectionString } = database
      await using daemon = await startDaemon(daemonOptions(CONFIG, { DATABASE_URL: connectionString }))
      const devices = await editOften(daemon.url)
      await daemon.kill()
      const open = () => createPostgresServerStore({ connectionString, readOnly: true })
      const reading = await open()
      const expected = await expectedContentOf(reading)
      await reading.close()

      let kills = 0
      let partial = 0
      for (const statement of IS_FULL ? STATEMENTS : STATEMENTS.slice(2)) {
        await using lock = await holdLock(database, statement.table)
        const run = await daemon.run(['compact'], { killWhen: untilBlocked(database, statement.text) })
        await lock.release()
        expect(run.signal).toBe('SIGKILL')
        kills++
        const store = await open()
        expect(await expectUnharmed(store, expected)).toBe(0)
        await store.close()
      }
      for (let round = 0; round < KILLS && partial < expected.end.dropped.length; round++) {
        await using lock = await holdLock(database, '_kora_records')
        const killWhen = untilBlocked(database, 'FOR NO KEY UPDATE').then(async () => {
          await lock.release()
          await sleep(random() * 50)
        })
        if ((await daemon.run(['compact'], { killWhen })).signal !== null) kills++
        const store = await open()
        partial = await expectUnharmed(store, expected)
        await store.close()
      }

      await daemon.start()
      expect(await daemon.run(['compact'])).toMatchObject({ code: 0 })
      const store = await open()
      await expectComplete(store, expected)
      await store.close()
      await expectAgreement(devices, [daemon.url], open)
      expect(await daemon.run(['check', '--deep'])).toMatchObject({ code: 0 })
      reportFigures('compaction killed, PostgreSQL', {
        operations: expected.all.size,
        'of them dropped': expected.end.dropped.length,
        kills,
      })
    },
    timeoutMs(120_000),
  )
})

/** The tables that a step writes to, in its order, and what begins the statement that does. */
const STATEMENTS = [
  { table: '_kora_records', text: 'FOR NO KEY UPDATE' },
  { table: '_kora_operations', text: 'DELETE FROM' },
  { table: '_kora_dropped', text: 'INSERT INTO' },
  { table: '_kora_counters', text: 'operation_count - ' },
]

/** Resolves when a statement with this text waits for a lock. */
async function untilBlocked({ query }: TestDatabase, text: string): Promise<void> {
  const waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND strpos(query, $1) > 0"
  const deadline = performance.now() + WAIT_MS
  while ((await query(waiting, [text])).length === 0) {
    if (performance.now() > deadline) throw new Error(`No statement with "${text}" waits for a lock`)
    await sleep(10)
  }
}

// ── a compaction under fire ──────────────────────────────────────────────────────────────────

describe('clients that write while the log is compacted, over and over, by servers that are killed', () => {
  test.runIf(IS_FULL)(
    'agree on SQLite',
    async () => {
      await using daemon = await startDaemon(daemonOptions(COMPACTING))
      const open = async () =>
        createSqliteServerStore({ filename: join(daemon.directory, 'kora-server.db'), readOnly: true })
      await liveUnderFire('compaction under fire, SQLite', [daemon], open)
    },
    timeoutMs(120_000),
  )

  test(
    'agree on PostgreSQL, over two servers',
    async () => {
      await using database = await openTestDatabase()
      const { connectionString } = database
      const start = () => startDaemon(daemonOptions(COMPACTING, { DATABASE_URL: connectionString }))
      await using one = await start()
      await using two = await start()
      const open = () => createPostgresServerStore({ connectionString, readOnly: true })
      await liveUnderFire('compaction under fire, PostgreSQL', [one, two], open)
    },
    timeoutMs(120_000),
  )
})

async function liveUnderFire(
  name: string,
  daemons: readonly Daemon[],
  open: () => Promise<ServerStore>,
): Promise<void> {
  const kinds: Partial<DeviceOptions>[] = [{}, {}, {}, { wireFormat: 'protobuf' }, { isLegacy: true }]
  const devices = await Promise.all(
    daemons.flatMap(({ url, httpUrl }, index) => [
      ...kinds.map((kind, n) => openClient(url, { name: `${index}.${n}`, ...kind })),
      openClient(`${httpUrl}/?client=${crypto.randomUUID()}`, { name: `${index} polling` }),
    ]),
  )
  let isOver = false
  const writing = setInterval(() => act(pick(devices)), 5)
  const commands = repeatUntil(
    () => isOver,
    () => pick(daemons).run(['compact']),
  )
  let kills = 0
  try {
    const startedAt = performance.now()
    while (performance.now() - startedAt < FIRE_MS) {
      await sleep(500 + random() * 2000)
      await pick(daemons).restart('SIGKILL')
      kills++
    }
  } finally {
    clearInterval(writing)
    isOver = true
    await commands
  }
  await expectAgreement(
    devices,
    daemons.map(({ url }) => url),
    open,
  )
  const [daemon] = daemons
  expect(await daemon?.run(['check', '--deep'])).toMatchObject({ code: 0 })
  const store = await open()
  const figures = { stored: await store.getOperationCount(), dropped: await store.countDropped() }
  await store.close()
  await Promise.all(devices.map((device) => device.close()))
  expect(figures.dropped).toBeGreaterThan(10)
  reportFigures(name, { clients: devices.length, 's of fire': FIRE_MS / 1000, kills, ...figures })
}

/** What a user does; half of it to the same few records. */
function act(device: Device): void {
  if (device.pendingCount > 200) return
  const dice = random()
  if (dice < 0.01) device.goOffline(random() < 0.5)
  else if (dice < 0.05) device.goOnline()
  const records = device.records('todos')
  const id = pick(random() < 0.5 ? records.slice(0, 5) : records)?.id
  if (id === undefined || dice > 0.95) device.insert('todos', { title: device.journal.name, tags: [] })
  else if (dice > 0.93) device.delete('todos', id)
  else if (dice > 0.85) addTag(device, id, device.journal.name)
  else if (dice > 0.5) device.update('todos', id, { title: `${dice}` })
  else device.update('todos', id, { title: `${dice}`, done: dice > 0.25 })
}

function pick<Item>(items: readonly Item[]): Item {
  return items[Math.floor(random() * items.length)] as Item // undefined of none, as the callers know
}

async function repeatUntil(isOver: () => boolean, action: () => Promise<unknown>): Promise<void> {
  while (!isOver()) {
    await action()
    await sleep(300)
  }
}

test('the command leaves the lock of an SQLite file to the server beside it, half of the time', async () => {
  using directory = temporaryDirectory()
  const filename = join(directory.path, 'kora-server.db')
  writeFileSync(join(directory.path, 'schema.mjs'), schemaFile())
  const droppable = await fillWithEdits(filename, 250, 40)
  const db = new (loadSqliteDriver())(filename, { timeout: 0 })

  const run = runCli(['compact', '--schema', 'schema.mjs'], { directory: directory.path })
  let isOver = false
  void run.finally(() => {
    isOver = true
  })
  const tries = { free: 0, taken: 0 }
  while (!isOver) {
    const isFree = isLockFree(db)
    const { dropped } = db.prepare('SELECT count(*) AS dropped FROM _kora_dropped').get() as {
      dropped: number
    }
    if (dropped > 0 && dropped < droppable) tries[isFree ? 'free' : 'taken']++
    await sleep(3)
  }
  db.close()

  expect(await run).toMatchObject({ code: 0 })
  expect(tries.free + tries.taken).toBeGreaterThan(10)
  expect(tries.free / (tries.free + tries.taken)).toBeGreaterThan(0.25)
}, 60_000)

/** @returns how many of the operations a compaction drops */
async function fillWithEdits(filename: string, records: number, edits: number): Promise<number> {
  const store = createSqliteServerStore({ filename, durability: 'normal' })
  await store.setSchema(todoSchema)
  const author = new OperationAuthor('a')
  for (let record = 0; record < records; record++) {
    const id = recordIdOf(`${record}`)
    const insert = author.insert(id, { title: 'new', tags: [] })
    const updates = Array.from({ length: edits }, (_, edit) => author.update(id, { title: `${edit}` }))
    await appendAll(store, [insert, ...updates])
  }
  await store.close()
  return records * (edits - 1)
}

function isLockFree(db: SqliteDatabase): boolean {
  try {
    db.exec('BEGIN IMMEDIATE; ROLLBACK')
    return true
  } catch {
    return false
  }
}

// ── several servers ──────────────────────────────────────────────────────────────────────────

describe('of two servers of one database', () => {
  test('one compacts, the other says so, and does it when the first one dies over it', async () => {
    await using database = await openTestDatabase()
    const env = { DATABASE_URL: database.connectionString }
    await using first = await startDaemon(daemonOptions(COMPACTING, env))
    await editSome(first.url)
    await using lock = await holdLock(database, '_kora_dropped')
    await untilBlocked(database, 'INSERT INTO')
    await using second = await startDaemon(daemonOptions(COMPACTING, env))

    const command = await second.run(['compact'])
    await untilLogged(second, 'compaction left to another server, which is at it')
    await first.kill('SIGKILL')
    await lock.release()

    expect(command).toMatchObject({ code: 1, stderr: expect.stringMatching(/Another server is compacting/) })
    await untilLogged(second, 'log compacted', ({ operations }) => Number(operations) > 0)
    expect(await second.run(['check', '--deep'])).toMatchObject({ code: 0 })
  }, 60_000)

  test.runIf(IS_FULL)(
    'both may compact where the lock is lost on the way, and harm nothing',
    async () => {
      await using database = await openTestDatabase()
      const { connectionString } = database
      await using daemon = await startDaemon(daemonOptions(CONFIG, { DATABASE_URL: connectionString }))
      await editSome(daemon.url)
      const open = () => createPostgresServerStore({ connectionString, readOnly: true })
      const reading = await open()
      const expected = await expectedContentOf(reading)
      await reading.close()
      await using lock = await holdLock(database, '_kora_dropped')
      const first = daemon.run(['compact'])
      await untilBlocked(database, 'INSERT INTO')

      await database.query("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
      const second = daemon.run(['compact'])
      await untilBlocked(database, 'FOR NO KEY UPDATE')
      await lock.release()

      expect(await second).toMatchObject({ code: 0 })
      expect(await first).toMatchObject({ code: 0 })
      const store = await open()
      await expectComplete(store, expected)
      await store.close()
    },
    60_000,
  )

  test.runIf(IS_FULL && canIsolate)(
    'one goes on within half a minute when the machine of the other is gone',
    async () => {
      await using host = await openIsolatedHost()
      await using server = await PostgresServer.start([], [host.gateway])
      await using database = await server.openDatabase()
      const { launcher, host: address, env } = insideOf(host, server)
      await using gone = await startDaemon({
        ...daemonOptions(COMPACTING, env),
        ...(launcher && { launcher }),
        ...(address !== undefined && { host: address }),
      })
      await editSome(gone.url)
      await using lock = await holdLock(database, '_kora_dropped')
      await untilBlocked(database, 'INSERT INTO')
      await host.lose(server.port)
      const lostAt = performance.now()
      await lock.release()

      await using other = await startDaemon(
        daemonOptions(COMPACTING, { DATABASE_URL: database.connectionString }),
      )
      await untilLogged(other, 'log compacted', () => true)

      const ms = Math.round(performance.now() - lostAt)
      reportFigures('machine gone while it compacts', { 'ms until another one compacts': ms })
      expect(ms).toBeLessThan(30_000)
    },
    timeoutMs(120_000),
  )
})

/** Something that a compaction drops. */
async function editSome(url: string): Promise<void> {
  await using device = await openClient(url)
  const id = device.insert('todos', { title: 'new' })
  for (let edit = 0; edit < 20; edit++) device.update('todos', id, { title: `${edit}` })
  device.insert('todos', { title: 'the end of the log' })
  await device.synced(WAIT_MS)
}

async function untilLogged(
  daemon: Daemon,
  message: string,
  isMeant: (line: Daemon['log'][number]) => boolean = () => true,
): Promise<void> {
  const deadline = performance.now() + WAIT_MS
  while (!daemon.log.some((line) => line.msg === message && isMeant(line))) {
    if (performance.now() > deadline) throw new Error(`"${message}" was not logged:\n${daemon.output}`)
    await sleep(50)
  }
}
