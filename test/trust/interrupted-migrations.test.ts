import { copyFileSync, existsSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { createPostgresServerStore, createSqliteServerStore } from '../../src/index.ts'
import type { ServerStore } from '../../src/store/store.ts'
import { sleep } from '../support/cluster.ts'
import {
  type CliResult,
  type DaemonOptions,
  runCli,
  startDaemon,
  temporaryDirectory,
} from '../support/daemon.ts'
import { openDevice } from '../support/device.ts'
import { untilReady } from '../support/health.ts'
import { appendAll, OperationAuthor } from '../support/operation-author.ts'
import { openTestDatabase } from '../support/postgres.ts'
import { randomOf, seedOf } from '../support/socket-client.ts'
import { hasWorkLeft, integrityOf } from '../support/sqlite-file.ts'
import { schemaFile, todoSchema } from '../support/todo-app.ts'
import { reportFigures, sized, timeoutMs } from '../support/trust.ts'

const RECORDS = 3000
const KILLS = sized(3, 34) // of each command, of three for each database
const READY_MS = 15_000
const MAX_LIFE_MS = 1500
const WRITE_PAUSE_MS = 20
/** Of a write to a running server, while a command beside it fills tables and is killed. */
const MAX_WAIT_MS = sized(2000, 1000)
/** At most. Every second run is killed nearly always, so that two are taken on average. */
const RUNS_PER_KILL = 20
/** Some of the time that it takes to write the rows of all records. */
const MAX_WORK_MS = 150

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

/** Every second run is killed at any moment, the others once they have begun their work: few moments are after that. */
async function killAtRandom(
  run: (killSignal: AbortSignal) => Promise<CliResult>,
  { kill, hasBegun }: { readonly kill: number; readonly hasBegun: () => Promise<boolean> },
): Promise<CliResult> {
  const abort = new AbortController()
  const result = run(abort.signal)
  let hasEnded = false
  void result.finally(() => {
    hasEnded = true
  })
  if (kill % 2 === 0) await sleep(1 + random() * MAX_LIFE_MS)
  else {
    while (!hasEnded && !(await hasBegun())) await sleep(1)
    await sleep(random() * MAX_WORK_MS)
  }
  abort.abort()
  return result
}

/**
 * Runs a command until so many runs of it were killed: those that were done before do not count.
 *
 * @param runOnce tells whether it was killed
 */
async function untilKilled(kills: number, runOnce: (run: number) => Promise<boolean>): Promise<void> {
  let killed = 0
  for (let run = 0; killed < kills; run++) {
    const text = `${killed} of ${run} runs were killed before they were done, where ${kills} are wanted`
    expect(run, text).toBeLessThan(RUNS_PER_KILL * kills)
    if (await runOnce(run)) killed++
  }
}

/** A command that nobody has killed has done its work. @returns whether it was killed */
function wasKilled(result: CliResult): boolean {
  if (result.signal !== null) return true
  expect(result).toMatchObject({ code: 0 })
  return false
}

/** After a start that was interrupted the next one serves, and nothing of what it serves is damaged. */
async function expectNextStart(options: DaemonOptions): Promise<void> {
  await using daemon = await startDaemon({ args: ['--schema', 'schema.mjs'], ...options })
  await untilReady(daemon, true, { sinceMs: performance.now(), timeoutMs: READY_MS })
  const check = await daemon.run(['check', '--deep', '--schema', 'schema.mjs'])
  expect(check, check.stdout).toMatchObject({ code: 0 })
}

describe('a command that is killed at any moment', () => {
  test(
    'on SQLite leaves no half-filled table to queries, and is completed by the next one',
    async () => {
      const directory = await temporaryDirectory()
      const filename = join(directory, 'kora-server.db')
      const open = () => createSqliteServerStore({ filename, readOnly: true })
      const removeStore = (): void => {
        for (const suffix of ['', '-wal', '-shm']) rmSync(`${filename}${suffix}`, { force: true })
      }
      const isWriting = async (): Promise<boolean> => hasWorkLeft(filename)
      const isThere = async (): Promise<boolean> => existsSync(filename)
      let completed = 0
      let amidst = 0
      const runAndKill = async (
        args: readonly string[],
        { run: kill, hasBegun }: { readonly run: number; readonly hasBegun: () => Promise<boolean> },
      ): Promise<boolean> => {
        const run = (killSignal: AbortSignal) =>
          runCli([...args, '--schema', 'schema.mjs'], { directory, killSignal })
        const isKilled = wasKilled(await killAtRandom(run, { kill, hasBegun }))
        if (!isKilled) completed++
        if (await isWriting()) amidst++
        return isKilled
      }
      try {
        writeFileSync(join(directory, 'schema.mjs'), schemaFile())
        for (let run = 0; run < KILLS; run++) {
          const start = ['start', '--host', '127.0.0.1', '--port', '0']
          expect(await runAndKill(start, { run, hasBegun: isThere })).toBe(true) // it does not end by itself
          expect([null, 0]).toContain(await shownCount(open))
          await expectNextStart({ directory })
          expect(await shownCount(open)).toBe(0)
          expect(integrityOf(filename)).toBe('ok')
          removeStore()
        }
        await fill(createSqliteServerStore({ filename }))
        const unmigrated = join(directory, 'unmigrated.db')
        copyFileSync(filename, unmigrated)

        await untilKilled(KILLS, async (run) => {
          const isKilled = await runAndKill(['migrate'], { run, hasBegun: isWriting })
          const shown = await shownCount(open)
          expect([null, RECORDS]).toContain(shown)
          if (shown !== null) {
            removeStore() // there is nothing left to do
            copyFileSync(unmigrated, filename)
          }
          return isKilled
        })
        expect(await runCli(['migrate', '--schema', 'schema.mjs'], { directory })).toMatchObject({ code: 0 })
        expect(await shownCount(open)).toBe(RECORDS)
        await untilKilled(KILLS, async (run) => {
          const isKilled = await runAndKill(['migrate', '--rebuild'], { run, hasBegun: isWriting })
          expect([null, RECORDS]).toContain(await shownCount(open))
          return isKilled
        })
        expect(await runCli(['migrate', '--schema', 'schema.mjs'], { directory })).toMatchObject({ code: 0 })
        expect(await shownCount(open)).toBe(RECORDS)
        expect(integrityOf(filename)).toBe('ok')
        expect(await runCli(['check', '--deep'], { directory })).toMatchObject({ code: 0 })
      } finally {
        rmSync(directory, { recursive: true, force: true })
      }
      reportFigures('interrupted migrations, SQLite', {
        kills: 3 * KILLS,
        'with rows left to write': amidst,
        'runs that were done before': completed,
      })
      expect(amidst).toBeGreaterThan(0)
    },
    timeoutMs(240_000),
  )

  test(
    'on PostgreSQL an interrupted first start is completed by the next one',
    async () => {
      const files = { 'schema.mjs': schemaFile() }
      for (let kill = 0; kill < KILLS; kill++) {
        await using database = await openTestDatabase()
        const { connectionString } = database
        const env = { DATABASE_URL: connectionString }
        const hasBegun = async (): Promise<boolean> => {
          const rows = await database.query("SELECT 1 FROM pg_tables WHERE tablename LIKE '\\_kora\\_%'")
          return rows.length > 0
        }
        const start = (killSignal: AbortSignal) =>
          runCli(['start', '--host', '127.0.0.1', '--port', '0', '--schema', 'schema.mjs'], {
            files,
            env,
            killSignal,
          })
        const open = () => createPostgresServerStore({ connectionString, readOnly: true })

        expect(wasKilled(await killAtRandom(start, { kill, hasBegun }))).toBe(true) // it does not end by itself
        expect([null, 0]).toContain(await shownCount(open))
        await expectNextStart({ files, env })
        expect(await shownCount(open)).toBe(0)
      }
      reportFigures('interrupted first starts, PostgreSQL', { kills: KILLS })
    },
    timeoutMs(240_000),
  )

  test(
    'on PostgreSQL leaves no half-filled table to queries, and does not disturb a running server',
    async () => {
      await using database = await openTestDatabase()
      const { connectionString } = database
      const open = () => createPostgresServerStore({ connectionString, readOnly: true })
      await fill(await createPostgresServerStore({ connectionString }))
      const env = { DATABASE_URL: connectionString }
      const isWriting = async (): Promise<boolean> => {
        const rows = await database.query("SELECT 1 FROM _kora_meta WHERE key = 'schema_change'")
        return rows.length > 0
      }
      const files = { 'schema.mjs': schemaFile() }
      let kills = 0
      let amidst = 0
      for (let kill = 0; kill < KILLS; kill++) {
        const migrate = (killSignal: AbortSignal) =>
          runCli(['migrate', '--schema', 'schema.mjs'], { files, env, killSignal })
        if (wasKilled(await killAtRandom(migrate, { kill, hasBegun: isWriting }))) kills++
        if (await isWriting()) amidst++
        expect([null, RECORDS]).toContain(await shownCount(open))
      }
      await using daemon = await startDaemon({ args: ['--schema', 'schema.mjs'], files, env })
      await using device = await openDevice({ url: daemon.url, schema: todoSchema, batchSize: 10 })
      const rebuild = (killSignal: AbortSignal) =>
        daemon.run(['migrate', '--rebuild', '--schema', 'schema.mjs'], { killSignal })
      let [written, longestMs] = [0, 0]
      /** One after the other, from before its beginning to after its end. */
      const writeDuring = async (run: Promise<unknown>): Promise<void> => {
        let hasEnded = false
        void run.finally(() => {
          hasEnded = true
        })
        for (let isLast = false; !isLast; await sleep(WRITE_PAUSE_MS)) {
          isLast = hasEnded
          const sentAt = performance.now()
          device.insert('todos', { title: `during rebuild ${written++}` })
          await device.synced(30_000)
          longestMs = Math.max(longestMs, performance.now() - sentAt)
        }
      }
      await untilKilled(2 * KILLS - kills, async (kill) => {
        const run = killAtRandom(rebuild, { kill, hasBegun: isWriting })
        await writeDuring(run)
        const isKilled = wasKilled(await run)
        if (isKilled) kills++
        if (await isWriting()) amidst++
        expect([null, RECORDS + written]).toContain(await shownCount(open))
        return isKilled
      })
      expect(await daemon.run(['migrate', '--schema', 'schema.mjs'])).toMatchObject({ code: 0 })

      expect(await shownCount(open)).toBe(RECORDS + written)
      expect(await daemon.run(['check', '--deep', '--schema', 'schema.mjs'])).toMatchObject({ code: 0 })
      reportFigures('interrupted migrations, PostgreSQL', {
        kills,
        'with rows left to write': amidst,
        'records written meanwhile': written,
        'ms that one of them waited at most': Math.round(longestMs),
      })
      expect(amidst).toBeGreaterThan(0)
      expect(longestMs).toBeLessThan(MAX_WAIT_MS)
    },
    timeoutMs(240_000),
  )
})
