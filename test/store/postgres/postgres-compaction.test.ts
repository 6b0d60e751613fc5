import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import pg from 'pg'
import { expect, test, vi } from 'vitest'
import { systemRuntime } from '../../../src/core/system-runtime.ts'
import { BackupSchedule } from '../../../src/store/backup/backup-schedule.ts'
import { fileSource } from '../../../src/store/backup/backup-source.ts'
import { DirectoryTarget } from '../../../src/store/backup/directory-target.ts'
import { verifyBackup } from '../../../src/store/backup/read-backup.ts'
import { rulesFor, runCompaction } from '../../../src/store/compaction/run-compaction.ts'
import { createPostgresServerStore } from '../../../src/store/postgres/postgres-store.ts'
import { temporaryDirectory } from '../../support/each-store.ts'
import { appendAll, OperationAuthor } from '../../support/operation-author.ts'
import { openTestDatabase } from '../../support/postgres.ts'
import { todoSchema } from '../../support/todo-schema.ts'
import { recordingLogger } from '../../support/tokens.ts'

test('a forgotten record takes no row out of a table that is not one of the schema', async () => {
  await using database = await openTestDatabase()
  await database.query(`CREATE TABLE users (id text PRIMARY KEY)`)
  await database.query(`CREATE TABLE invoices (id integer PRIMARY KEY)`)
  await database.query(`INSERT INTO users VALUES ('alice'), ('bob')`)
  const store = await createPostgresServerStore({ connectionString: database.connectionString })
  try {
    await store.setSchema(todoSchema)
    const author = new OperationAuthor('mallory')
    for (const collection of ['users', 'invoices', 'nowhere', '_kora_meta', '_kora_servers']) {
      await appendAll(store, [
        author.insert('alice', { name: 'a' }, { collection }),
        author.delete('alice', { collection }),
      ])
    }
    await appendAll(store, [author.insert('last', { title: 'x' })]) // the end of the log stays

    const rules = rulesFor({ keepForMs: null, tombstonesMs: 1000 }, Date.now())
    const summary = await runCompaction(store, rules, { runtime: systemRuntime() })

    expect(summary).toMatchObject({ operations: 10, tombstones: 5 })
    expect(await database.query('SELECT id FROM users ORDER BY id')).toEqual([{ id: 'alice' }, { id: 'bob' }])
  } finally {
    await store.close()
  }
})

/** Whose write waits before its first byte. */
class PausedTarget extends DirectoryTarget {
  goOn = () => {}
  #begin = () => {}
  readonly isBegun = new Promise<void>((resolve) => {
    this.#begin = resolve
  })
  readonly #mayGoOn = new Promise<void>((resolve) => {
    this.goOn = resolve
  })

  override write(name: string, source: AsyncIterable<Uint8Array>, signal: AbortSignal) {
    return super.write(name, this.#pause(source), signal)
  }

  async *#pause(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const piece of source) {
      this.#begin()
      await this.#mayGoOn
      yield piece
    }
  }
}

test('a compaction of one server waits for the backup that another one writes', async () => {
  using directory = temporaryDirectory()
  await using database = await openTestDatabase()
  const { connectionString } = database
  const [backedUp, compacting] = [
    await createPostgresServerStore({ connectionString }),
    await createPostgresServerStore({ connectionString }),
  ]
  const target = new PausedTarget(directory.path)
  const logger = recordingLogger()
  const runtime = systemRuntime()
  const schedule = new BackupSchedule({
    store: backedUp,
    runtime,
    logger,
    target,
    everyMs: 3_600_000,
    keep: 1,
  })
  try {
    await compacting.setSchema(todoSchema)
    const author = new OperationAuthor('a')
    await appendAll(compacting, [author.insert('r', { title: 'x' }), author.delete('r')])
    await appendAll(compacting, [author.insert('last', { title: 'x' })])
    schedule.start()
    await target.isBegun
    const rules = rulesFor({ keepForMs: null, tombstonesMs: 1000 }, Date.now())
    let isHeld = false
    const summary = await runCompaction(compacting, rules, {
      runtime,
      onProgress: ({ recordsDone }) => {
        isHeld ||= recordsDone === 0
        target.goOn()
      },
    })
    await schedule.settled()

    expect(isHeld).toBe(true)
    expect(summary).toMatchObject({ operations: 2, tombstones: 1 })
    expect(logger.lines.map(({ message }) => message)).toEqual(['backup written'])
    const [name = ''] = await target.list()
    expect(await verifyBackup(fileSource(join(directory.path, name))())).toMatchObject({ operations: 3 })
  } finally {
    await schedule.stop()
    await backedUp.close()
    await compacting.close()
  }
})

test('a hold is of a transaction, and lasts for as long as it is wanted', async () => {
  await using database = await openTestDatabase()
  const name = new URL(database.connectionString).pathname.slice(1)
  for (const setting of ['idle_session_timeout', 'idle_in_transaction_session_timeout']) {
    await database.query(`ALTER DATABASE "${name}" SET ${setting} = '200ms'`)
  }
  const store = await createPostgresServerStore({ connectionString: database.connectionString })
  const holders = () =>
    database.query(`SELECT state FROM pg_locks JOIN pg_stat_activity USING (pid)
      WHERE locktype = 'advisory' AND mode = 'ShareLock' AND datname = current_database()`)
  try {
    const letGo = await store.holdCompaction()
    await setTimeout(1000)
    const held = await holders()
    await letGo()

    expect(held).toEqual([{ state: 'idle in transaction' }])
    await vi.waitFor(async () => expect(await holders()).toEqual([]))
  } finally {
    await store.close()
  }
})

test('a compaction that is held reads no records', async () => {
  await using database = await openTestDatabase()
  const { connectionString } = database
  const store = await createPostgresServerStore({ connectionString, lockTimeoutMs: 200 })
  const reserved = new pg.Client({ connectionString })
  await reserved.connect()
  try {
    await store.setSchema(todoSchema)
    const letGo = await store.holdCompaction()
    await reserved.query('BEGIN; LOCK TABLE _kora_records') // whoever reads it fails

    expect(await store.compactStep(0, rulesFor({ keepForMs: 0, tombstonesMs: 0 }, Date.now()))).toEqual({
      after: 0,
      records: 0,
      dropped: [],
    })
    await letGo()
  } finally {
    await reserved.end()
    await store.close()
  }
})
