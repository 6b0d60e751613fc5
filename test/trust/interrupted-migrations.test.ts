import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { createPostgresServerStore, createSqliteServerStore } from '../../src/index.ts'
import type { ServerStore } from '../../src/store/store.ts'
import { runCli, startDaemon, temporaryDirectory } from '../support/daemon.ts'
import { openDevice } from '../support/device.ts'
import { appendAll, OperationAuthor } from '../support/operation-author.ts'
import { openTestDatabase } from '../support/postgres.ts'
import { randomOf, seedOf } from '../support/socket-client.ts'
import { integrityOf } from '../support/sqlite-file.ts'
import { schemaFile, todoSchema } from '../support/todo-app.ts'
import { reportFigures, sized, timeoutMs } from '../support/trust.ts'

const RECORDS = 1000
const KILLS = sized(3, 34) // of each command
const MAX_LIFE_MS = 1500

const random = randomOf(seedOf('interrupted migrations'))

/** A log without tables. */
async function fill(store: ServerStore): Promise<void> {
  const author = new OperationAuthor('phone')
  for (let start = 0; start < RECORDS; start += 100) {
    await appendAll(
      store,
      Array.from({ length: 100 }, (_, index) => author.insert(`r${start + index}`, { title: 'x', tags: [] })),
    )
  }
  await store.close()
}

/** What `query` would show: the number of records, or null while it shows none. */
async function shownCount(open: () => Promise<ServerStore> | ServerStore): Promise<number | null> {
  try {
    const store = await open()
    try {
      return await store.countCollection('todos')
    } catch (error) {
      expect(['STORE_UNAVAILABLE', 'NO_SCHEMA', 'UNKNOWN_COLLECTION']).toContain(
        (error as { code: string }).code,
      )
      return null
    } finally {
      await store.close()
    }
  } catch (error) {
    expect((error as { code: string }).code).toBe('STORE_OPEN_FAILED')
    return null
  }
}

describe('a command that is killed at any moment', () => {
  test(
    'on SQLite leaves no half-filled table to queries, and is completed by the next one',
    async () => {
      const directory = await temporaryDirectory()
      const filename = join(directory, 'kora-server.db')
      const open = () => createSqliteServerStore({ filename, readOnly: true })
      let kills = 0
      let completed = 0
      const killOften = async (
        args: readonly string[],
        counts: readonly (number | null)[],
      ): Promise<void> => {
        for (let kill = 0; kill < KILLS; kill++) {
          const { signal } = await runCli([...args, '--schema', 'schema.mjs'], {
            directory,
            killAfterMs: Math.round(1 + random() * MAX_LIFE_MS),
          })
          if (signal === null) completed++
          else kills++
          expect(counts).toContain(await shownCount(open))
        }
      }
      try {
        writeFileSync(join(directory, 'schema.mjs'), schemaFile())
        await killOften(['start', '--host', '127.0.0.1', '--port', '0'], [null, 0])
        for (const suffix of ['', '-wal', '-shm']) rmSync(`${filename}${suffix}`, { force: true })
        await fill(createSqliteServerStore({ filename }))

        await killOften(['migrate'], [null, RECORDS])
        expect(await runCli(['migrate', '--schema', 'schema.mjs'], { directory })).toMatchObject({ code: 0 })
        expect(await shownCount(open)).toBe(RECORDS)
        await killOften(['migrate', '--rebuild'], [null, RECORDS])
        expect(await runCli(['migrate', '--schema', 'schema.mjs'], { directory })).toMatchObject({ code: 0 })
        expect(await shownCount(open)).toBe(RECORDS)
        expect(integrityOf(filename)).toBe('ok')
        expect(await runCli(['check', '--deep'], { directory })).toMatchObject({ code: 0 })
      } finally {
        rmSync(directory, { recursive: true, force: true })
      }
      reportFigures('interrupted migrations, SQLite', { kills, 'runs that were done before': completed })
      expect(kills).toBeGreaterThan(KILLS)
    },
    timeoutMs(240_000),
  )

  test(
    'on PostgreSQL does not disturb the running server',
    async () => {
      await using database = await openTestDatabase()
      const { connectionString } = database
      const open = () => createPostgresServerStore({ connectionString, readOnly: true })
      await fill(await createPostgresServerStore({ connectionString }))
      const env = { DATABASE_URL: connectionString }
      await using daemon = await startDaemon({
        args: ['--schema', 'schema.mjs'],
        files: { 'schema.mjs': schemaFile() },
        env,
      })
      await using device = await openDevice({ url: daemon.url, schema: todoSchema, batchSize: 10 })
      let kills = 0
      for (let kill = 0; kill < KILLS; kill++) {
        const run = daemon.run(['migrate', '--rebuild', '--schema', 'schema.mjs'], {
          killAfterMs: Math.round(300 + random() * MAX_LIFE_MS),
        })
        device.insert('todos', { title: `during rebuild ${kill}` })
        await device.synced(30_000)
        if ((await run).signal !== null) kills++
        expect([null, RECORDS + kill + 1]).toContain(await shownCount(open))
      }
      expect(await daemon.run(['migrate', '--schema', 'schema.mjs'])).toMatchObject({ code: 0 })

      expect(await shownCount(open)).toBe(RECORDS + KILLS)
      expect(await daemon.run(['check', '--deep', '--schema', 'schema.mjs'])).toMatchObject({ code: 0 })
      reportFigures('interrupted migrations, PostgreSQL', { kills, 'records written meanwhile': KILLS })
      expect(kills).toBeGreaterThan(0)
    },
    timeoutMs(240_000),
  )
})
