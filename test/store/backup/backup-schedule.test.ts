import { readdirSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { silentLogger } from '../../../src/core/logger.ts'
import { BackupSchedule } from '../../../src/store/backup/backup-schedule.ts'
import { fileSource } from '../../../src/store/backup/backup-source.ts'
import { DirectoryTarget } from '../../../src/store/backup/directory-target.ts'
import { verifyBackup } from '../../../src/store/backup/read-backup.ts'
import { MemoryServerStore } from '../../../src/store/memory/memory-store.ts'
import { temporaryDirectory } from '../../support/each-store.ts'
import { appendAll, OperationAuthor } from '../../support/operation-author.ts'
import { simulatedRuntime } from '../../support/simulated-runtime.ts'
import { recordingLogger } from '../../support/tokens.ts'

const HOUR_MS = 60 * 60 * 1000

function openSchedule(directory: string, runtime = simulatedRuntime(), logger = recordingLogger()) {
  const store = new MemoryServerStore({ runtime })
  const target = new DirectoryTarget(directory)
  const schedule = new BackupSchedule({
    store,
    runtime,
    logger,
    target,
    everyMs: 3 * HOUR_MS,
    keep: 2,
  })
  /** Moves the clock, and lets what it begins come to its end: files are real. */
  const pass = async (ms: number): Promise<void> => {
    for (let left = ms; left >= 0; left -= HOUR_MS) {
      await runtime.advance(Math.min(left, HOUR_MS))
      await schedule.settled()
    }
  }
  return { store, runtime, logger, schedule, pass }
}

/** Each server has seen that a backup is due, and only then do all of them write it. */
function meetBeforeWriting(stores: readonly MemoryServerStore[]): void {
  let meet: () => void = () => {}
  const met = new Promise<void>((resolve) => {
    meet = resolve
  })
  let arrived = 0
  for (const store of stores) {
    const getOperationCount = store.getOperationCount.bind(store)
    store.getOperationCount = async () => {
      if (++arrived === stores.length) meet()
      await met
      return getOperationCount()
    }
  }
}

function backupsIn(directory: string): string[] {
  return readdirSync(directory).sort()
}

test('backups are written in their interval, and the oldest goes', async () => {
  using directory = temporaryDirectory()
  const { store, schedule, pass } = openSchedule(directory.path)
  await appendAll(store, [new OperationAuthor('a').insert('r1', { title: 'x' })])

  schedule.start()
  await pass(0)
  const [first = ''] = backupsIn(directory.path)
  await pass(9 * HOUR_MS)
  await schedule.stop()

  const names = backupsIn(directory.path)
  expect(names).toHaveLength(2)
  expect(names).not.toContain(first)
  for (const name of [first, ...names]) expect(name).toMatch(/^kora-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ\.backup$/)
  expect(await verifyBackup(fileSource(join(directory.path, names[1] ?? ''))())).toMatchObject({
    operations: 1,
  })
})

test('a restart goes on with the schedule that it finds, and clears what a kill left behind', async () => {
  using directory = temporaryDirectory()
  const runtime = simulatedRuntime()
  const before = openSchedule(directory.path, runtime)
  const insert = new OperationAuthor('a').insert('r1', { title: 'x' })
  await appendAll(before.store, [insert])
  before.schedule.start()
  await before.pass(0)
  await before.schedule.stop()
  const written = backupsIn(directory.path)
  const partial = join(directory.path, 'kora-2020-01-01T00-00-00Z.backup.partial')
  writeFileSync(partial, '')
  utimesSync(partial, 0, 0)
  writeFileSync(join(directory.path, 'mine.txt'), '')

  const { store, schedule, pass } = openSchedule(directory.path, runtime)
  await appendAll(store, [insert])
  schedule.start()
  await pass(HOUR_MS)
  expect(backupsIn(directory.path)).toContain('mine.txt')
  expect(backupsIn(directory.path).filter((name) => name.endsWith('.backup'))).toEqual(written)
  await pass(3 * HOUR_MS)
  await schedule.stop()

  expect(backupsIn(directory.path)).toHaveLength(3)
  expect(backupsIn(directory.path)).not.toContain('kora-2020-01-01T00-00-00Z.backup.partial')
})

test('servers that share a folder do not write into the same file, nor remove what the other one writes', async () => {
  using directory = temporaryDirectory()
  const runtime = simulatedRuntime()
  const servers = [openSchedule(directory.path, runtime), openSchedule(directory.path, runtime)]
  const author = new OperationAuthor('a')
  for (const { store } of servers) {
    const inserts = Array.from({ length: 300 }, (_, index) =>
      author.insert(`r${index}`, { title: `${index}` }),
    )
    await appendAll(store, inserts)
  }
  const [dead, living] = ['0123456789ab', 'ba9876543210'].map(
    (part) => `kora-2020-01-01T00-00-00Z.backup.${part}.partial`,
  ) as [string, string]
  for (const name of [dead, living]) writeFileSync(join(directory.path, name), '')
  utimesSync(join(directory.path, dead), 0, 0)
  const now = runtime.now() / 1000
  utimesSync(join(directory.path, living), now, now)

  meetBeforeWriting(servers.map(({ store }) => store))
  for (const { schedule } of servers) schedule.start()
  await runtime.advance(0)
  for (const { schedule } of servers) await schedule.settled()
  for (const { schedule } of servers) await schedule.stop()

  const logged = servers.flatMap(({ logger }) => logger.lines.map(({ message }) => message))
  expect(logged).toEqual(['backup written', 'backup written'])
  const [partial, backup = '', ...others] = backupsIn(directory.path)
  expect([partial, ...others]).toEqual([living])
  expect(await verifyBackup(fileSource(join(directory.path, backup))())).toMatchObject({ operations: 300 })
})

test('servers that share a folder write one backup between them, as a rule', async () => {
  using directory = temporaryDirectory()
  const runtime = simulatedRuntime()
  const withRandom = (byte: number) => ({
    ...runtime,
    token: (byteLength: number) => Buffer.alloc(byteLength, byte).toString('base64url'),
  })
  const servers = [0x10, 0xf0].map((byte) => openSchedule(directory.path, withRandom(byte)))
  const pass = async (ms: number) => {
    for (const end = runtime.now() + ms; runtime.now() < end; ) {
      await runtime.advance(5 * 60 * 1000)
      for (const { schedule } of servers) await schedule.settled()
    }
  }
  for (const { store, schedule } of servers) {
    await appendAll(store, [new OperationAuthor('a').insert('r1', { title: 'x' })])
    schedule.start()
    await pass(50 * 60 * 1000) // the second one starts later
  }

  await pass(24 * HOUR_MS)
  for (const { schedule } of servers) await schedule.stop()

  const written = servers.map(
    ({ logger }) => logger.lines.filter(({ message }) => message === 'backup written').length,
  )
  expect(written).toEqual([1, 8])
})

test('a failure is logged, and tried again', async () => {
  using directory = temporaryDirectory()
  const blocked = join(directory.path, 'file')
  writeFileSync(blocked, '')
  const { logger, schedule, pass } = openSchedule(join(blocked, 'inside'))

  schedule.start()
  await pass(3 * HOUR_MS)
  await schedule.stop()

  const failures = logger.lines.filter(({ message }) => message === 'backup failed')
  expect(failures.length).toBeGreaterThan(1)
  expect(failures[0]?.fields.err).toMatchObject({
    code: 'BACKUP_NOT_WRITTEN',
    message: `${join(blocked, 'inside')} is not a folder. Choose another.`,
  })
})

test('nothing is left of a backup that the stop of the server ends', async () => {
  using directory = temporaryDirectory()
  const store = new MemoryServerStore()
  await appendAll(store, [new OperationAuthor('a').insert('r1', { title: 'x' })])
  const { runtime } = openSchedule(directory.path)
  const schedule = new BackupSchedule({
    store: Object.assign(store, {
      listNodes: async () => {
        void schedule.stop()
        return []
      },
    }),
    runtime,
    logger: silentLogger,
    target: new DirectoryTarget(directory.path),
    everyMs: HOUR_MS,
    keep: 1,
  })

  schedule.start()
  await runtime.advance(0)
  await schedule.settled()

  expect(backupsIn(directory.path)).toEqual([])
})

test('a server that has come up without its data leaves the backups as they are', async () => {
  using directory = temporaryDirectory()
  const runtime = simulatedRuntime()
  const before = openSchedule(directory.path, runtime)
  await appendAll(before.store, [new OperationAuthor('a').insert('r1', { title: 'x' })])
  before.schedule.start()
  await before.pass(0)
  await before.pass(4 * HOUR_MS)
  await before.schedule.stop()
  const written = backupsIn(directory.path)
  expect(written).toHaveLength(2)

  const { store, logger, schedule, pass } = openSchedule(directory.path, runtime)
  schedule.start()
  await pass(12 * HOUR_MS)

  expect(backupsIn(directory.path)).toEqual(written)
  expect(logger.lines).toContainEqual({
    level: 'warn',
    message: 'the log is empty; no backup was written, and the earlier ones stay',
    fields: { target: directory.path },
  })
  await appendAll(store, [new OperationAuthor('a').insert('r2', { title: 'x' })])
  await pass(HOUR_MS)
  await schedule.stop()
  expect(backupsIn(directory.path)).not.toEqual(written)
})

test('a backup that bears a time to come, of a wrong clock, holds up no other, and is the first to go', async () => {
  using directory = temporaryDirectory()
  const ahead = 'kora-2035-01-01T00-00-00Z.backup'
  writeFileSync(join(directory.path, ahead), '')
  const { store, logger, schedule, pass } = openSchedule(directory.path)
  await appendAll(store, [new OperationAuthor('a').insert('r1', { title: 'x' })])

  schedule.start()
  await pass(0)
  const first = backupsIn(directory.path)
  await pass(4 * HOUR_MS)
  await schedule.stop()

  expect(first).toHaveLength(2)
  expect(first).toContain(ahead)
  expect(logger.lines).toContainEqual({
    level: 'warn',
    message: 'backups bear a time that is yet to come; they count as the oldest',
    fields: { files: [join(directory.path, ahead)] },
  })
  const last = backupsIn(directory.path)
  expect(last).toHaveLength(2)
  expect(last).toEqual([first[0], expect.stringContaining('kora-2025')])
})
