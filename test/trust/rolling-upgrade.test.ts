import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { createSqliteServerStore } from '../../src/index.ts'
import { loadSqliteDriver } from '../../src/store/sqlite/driver.ts'
import { findViolations } from '../support/checker.ts'
import { type Cluster, sleep, startCluster, writeUntilStopped } from '../support/cluster.ts'
import { type Daemon, startDaemon } from '../support/daemon.ts'
import type { DeviceRecord } from '../support/device/database.ts'
import { type Device, openDevice } from '../support/device.ts'
import { openTestDatabase } from '../support/postgres.ts'
import { randomOf, seedOf } from '../support/socket-client.ts'
import { schemaFile, todoSchema } from '../support/todo-app.ts'
import { reportFigures, sized, timeoutMs } from '../support/trust.ts'

// Two installed packages, as scripts/try-upgrade.sh makes them: the paths of their programs.
const { KORA_PREVIOUS: PREVIOUS = '', KORA_PRESENT: PRESENT = '' } = process.env
const HAS_BOTH = PREVIOUS !== '' && PRESENT !== ''
if (!HAS_BOTH)
  console.log('rolling upgrade: skipped, scripts/try-upgrade.sh runs it with two installed packages')

const SERVERS = 3
const LOAD_MS = sized(30_000, 300_000)
const WRITE_INTERVAL_MS = sized(200, 1000) // of each device
const HOT_RECORDS = 5
const AGREE_MS = 60_000
const NEWER_LAYOUT = 99

describe.runIf(HAS_BOTH)('servers of two releases on one PostgreSQL', () => {
  test(
    'replaced one after the other, back, and again: clients reconnect and notice nothing else',
    async () => {
      await using database = await openTestDatabase()
      await using cluster = await startCluster({
        database,
        servers: SERVERS,
        optionsOf: () => ({ bin: PREVIOUS }),
      })
      const presenceDevices = await openDevicesOfEachKind(cluster)
      // Forth, back in the other order, and forth again; after each they have to agree.
      const indexes = Array.from({ length: SERVERS }, (_, index) => index)
      const replacements = [
        ...indexes.map((index) => ({ index, bin: PRESENT })),
        ...indexes.toReversed().map((index) => ({ index, bin: PREVIOUS })),
        ...indexes.map((index) => ({ index, bin: PRESENT })),
      ]
      let agreeMs = 0
      for (const { index, bin } of replacements) {
        const writers = writeOfAllKinds(cluster.devices, WRITE_INTERVAL_MS)
        await sleep(LOAD_MS / replacements.length / 2)
        expect(await replace(cluster.daemon(index), bin)).toEqual({ code: 0, signal: null })
        await assertPresenceReachesAll(presenceDevices)
        await sleep(LOAD_MS / replacements.length / 2)
        writers.stop()
        const calmAt = performance.now()
        await cluster.converged(AGREE_MS)
        agreeMs = Math.max(agreeMs, performance.now() - calmAt)
        expect(await cluster.findViolations()).toEqual([])
      }

      // Devices that begin now, one at a server of each release.
      const last = cluster.daemon(SERVERS - 1)
      await replace(last, PREVIOUS)
      await cluster.openDevices(1, cluster.daemon(0).url, { name: 'fresh, at the present release' })
      await cluster.openDevices(1, last.url, { name: 'fresh, at the previous release' })
      expect(await cluster.findViolations()).toEqual([])
      expect(cluster.devices.flatMap(findFailures)).toEqual([])
      const [byPresent, byPrevious] = await Promise.all(
        [cluster.daemon(0), last].map((daemon) => countTodos(daemon)),
      )
      expect(byPresent).toBe(byPrevious)

      reportFigures('rolling upgrade, PostgreSQL', {
        servers: SERVERS,
        replacements: replacements.length,
        clients: cluster.devices.length,
        operations: cluster.authoredCount,
        reconnects: cluster.devices.reduce((sum, { journal }) => sum + journal.of('closed').length, 0),
        'ms of calm until all agree, at most': Math.round(agreeMs),
      })
    },
    timeoutMs(300_000),
  )
})

describe.runIf(HAS_BOTH).each([
  { from: 'the previous release', to: 'the present one', writer: PREVIOUS, reader: PRESENT },
  { from: 'the present release', to: 'the previous one', writer: PRESENT, reader: PREVIOUS },
])('what $from has written', ({ writer, reader, from }) => {
  test(
    'goes on under $to, also after a crash, and its backup restores there',
    async () => {
      await using daemon = await startDaemon({
        bin: writer,
        args: ['--schema', 'schema.mjs'],
        files: { 'schema.mjs': schemaFile() },
      })
      const devices = await Promise.all(
        ['phone', 'laptop'].map((name) => openDevice({ url: daemon.url, schema: todoSchema, name })),
      )
      await using _closed = { [Symbol.asyncDispose]: async () => void (await closeAll(devices)) }
      const early = writeOfAllKinds(devices, 20)
      await sleep(500)
      early.stop()
      await Promise.all(devices.map((device) => device.synced(AGREE_MS)))
      expect((await daemon.run(['backup', 'app.backup'])).code).toBe(0)
      const count = await countTodos(daemon)

      const writers = writeOfAllKinds(devices, 20)
      let outcome = 'reads it on'
      for (const bin of [reader, writer, reader, writer]) {
        await sleep(500)
        await daemon.kill('SIGKILL') // the log beside the file is not merged into it
        const refusal = await startError(daemon, bin)
        if (refusal === null) continue
        // Only what a later build has written may be refused, by name; it goes on as if nothing had been.
        expect(bin).toBe(PREVIOUS)
        expect(refusal).toMatch(LAYOUT_REFUSED)
        expect(await startError(daemon, PRESENT)).toBeNull()
        outcome = 'refuses it as newer'
      }
      writers.stop()
      await Promise.all(devices.map((device) => device.synced(AGREE_MS)))
      await daemon.kill('SIGTERM')
      await checkFile(daemon, devices)

      daemon.bin = reader
      const attempt = await daemon.run(RESTORE)
      // As of a file: an earlier build may refuse the format, by name, and the later one takes it.
      if (reader === PREVIOUS && FORMAT_REFUSED.test(attempt.stderr)) daemon.bin = PRESENT
      const restored = daemon.bin === reader ? attempt : await daemon.run(RESTORE)
      expect(restored, restored.stderr).toMatchObject({ code: 0 })
      expect(await countTodos(daemon, ['--db', 'restored.db'])).toBe(count)
      reportFigures(`SQLite file of ${from}`, {
        [`todos; the previous build ${outcome}`]: devices[0]?.records('todos').length ?? 0,
      })
    },
    timeoutMs(180_000),
  )
})

describe.runIf(HAS_BOTH).each([
  { name: 'the previous release', bin: PREVIOUS },
  { name: 'the present release', bin: PRESENT },
])('a store of a layout that $name does not know', ({ bin }) => {
  test('is refused by name and left as it is, on SQLite', async () => {
    await using daemon = await startDaemon({ bin })
    await daemon.kill('SIGTERM')
    const db = new (loadSqliteDriver())(join(daemon.directory, 'kora-server.db'))
    db.prepare("UPDATE _kora_meta SET value = ? WHERE key = 'layout'").run(String(NEWER_LAYOUT))
    db.close()
    const before = digestOf(daemon)

    expect(await daemon.run(['start', '--port', '0'])).toMatchObject(NEWER)
    expect(digestOf(daemon)).toBe(before)
  }, 120_000)

  test('is refused by name, on PostgreSQL', async () => {
    await using database = await openTestDatabase()
    await using daemon = await startDaemon({ bin, env: { DATABASE_URL: database.connectionString } })
    await daemon.kill('SIGTERM')
    const [meta] = await database.query(
      "SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relname = '_kora_meta'",
    )
    const table = `"${meta?.nspname}"._kora_meta`
    await database.query(`UPDATE ${table} SET value = $1 WHERE key = 'layout'`, [String(NEWER_LAYOUT)])

    expect(await daemon.run(['start', '--port', '0'])).toMatchObject(NEWER)
  }, 120_000)
})

const LAYOUT_REFUSED = /has layout \d+; this release reads up to \d+\. Start the release that wrote it/
const FORMAT_REFUSED = /it has version \d+, and this release reads up to \d+\. Use a later release/
const NEWER = { code: 1, stderr: expect.stringMatching(LAYOUT_REFUSED) }
const RESTORE = ['restore', 'app.backup', '--db', 'restored.db', '--schema', 'schema.mjs']

/**
 * Over every transport, in every format; those that poll stay with one server, as behind a proxy that pins.
 *
 * @returns those that are told of presence, which has no binary form and came after clients without watermark
 */
async function openDevicesOfEachKind(cluster: Cluster): Promise<Device[]> {
  await cluster.openDevices(3, cluster.url, { wireFormat: 'protobuf' })
  await cluster.openDevices(2, cluster.url, { isLegacy: true })
  const present = await cluster.openDevices(3)
  for (const { httpUrl } of cluster.daemons) {
    const url = `${httpUrl}/?client=${crypto.randomUUID()}`
    // Builds before the first release send errors over polling also where the client may return.
    present.push(...(await cluster.openDevices(1, url, { reloadsAfter: () => true })))
  }
  return present
}

/** Each device writes records of its own, and several at a time the same one, before they know of each other. */
function writeOfAllKinds(devices: readonly Device[], intervalMs: number): { stop(): void } {
  const own = writeUntilStopped(devices, intervalMs)
  const random = randomOf(seedOf('edits of the same records'))
  const shared: string[] = []
  const timer = setInterval(() => {
    const id = shared[Math.floor(random() * HOT_RECORDS)]
    const [first] = devices
    if (id === undefined) {
      if (first !== undefined) shared.push(first.insert('todos', { title: 'shared', count: 0, tags: [] }))
      return
    }
    const isEnd = random() < 0.02
    for (const device of devices) {
      const record = device.record('todos', id)
      if (record === null || device.pendingCount >= 100 || random() < 0.5) continue
      if (isEnd) device.delete('todos', id)
      else editShared(device, record, random)
    }
    if (isEnd) shared.splice(shared.indexOf(id), 1)
  }, intervalMs)
  return {
    stop: () => {
      own.stop()
      clearInterval(timer)
    },
  }
}

function editShared(device: Device, record: DeviceRecord, random: () => number): void {
  if (random() < 0.5) {
    device.update('todos', record.id, { title: `by ${device.journal.name}`, done: random() < 0.5 })
  } else {
    const count = Number(record.count ?? 0) + 1
    device.update('todos', record.id, { count }, { count: { type: 'increment', value: 1 } })
  }
}

async function replace(daemon: Daemon, bin: string) {
  const exit = await daemon.kill('SIGTERM')
  daemon.bin = bin
  await daemon.start()
  return exit
}

let presenceCount = 0

/** What one device publishes at its server is seen at those of the other release. */
async function assertPresenceReachesAll(devices: readonly Device[]): Promise<void> {
  const [first, ...others] = devices
  const name = `presence ${presenceCount++}`
  await Promise.all(devices.map((device) => device.streaming(AGREE_MS)))
  first?.setPresence({ user: { name, color: '#000' } })
  const sees = (device: Device) => () => [...device.peers.values()].some(({ user }) => user.name === name)
  await Promise.all(others.map((device) => device.until(sees(device), `${name} is here`, AGREE_MS)))
}

/**
 * Everything that a client was told and that is not simply "come back". Over polling, builds before
 * the first release end a new session for a late POST of the one before it; the client comes back.
 */
function findFailures({ journal, isPolling }: Device): string[] {
  const refused = [...journal.refusals.values()].map(({ code, message }) => `${code} ${message}`)
  const errors = journal
    .of('error')
    .filter(({ retriable, code }) => !retriable && !(isPolling && code === 'HANDSHAKE_REQUIRED'))
  const resyncs = journal.of('resync').map(({ from }) => `began anew from ${from}`)
  return [...refused, ...errors.map(({ code, message }) => `${code} ${message}`), ...resyncs].map(
    (text) => `${journal.name}: ${text}`,
  )
}

/** @returns what it printed instead of starting; null: it serves */
function startError(daemon: Daemon, bin: string): Promise<string | null> {
  daemon.bin = bin
  return daemon.start().then(
    () => null,
    (error: Error) => error.message,
  )
}

async function checkFile(daemon: Daemon, devices: readonly Device[]): Promise<void> {
  const store = createSqliteServerStore({
    filename: join(daemon.directory, 'kora-server.db'),
    readOnly: true,
  })
  try {
    expect(await findViolations({ store, devices, collections: ['todos'] })).toEqual([])
    expect(devices.flatMap(findFailures)).toEqual([])
  } finally {
    await store.close()
  }
}

async function countTodos(daemon: Daemon, args: readonly string[] = []): Promise<number> {
  const result = await daemon.run([
    'query',
    'todos',
    '--count',
    '--format',
    'json',
    '--schema',
    'schema.mjs',
    ...args,
  ])
  expect(result, result.stderr).toMatchObject({ code: 0 })
  return Number(/\d+/.exec(result.stdout)?.[0])
}

function digestOf(daemon: Daemon): string {
  return createHash('sha256')
    .update(readFileSync(join(daemon.directory, 'kora-server.db')))
    .digest('hex')
}

async function closeAll(devices: readonly Device[]): Promise<void> {
  await Promise.all(devices.map((device) => device.close()))
}
