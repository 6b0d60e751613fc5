import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { createPostgresServerStore, createSqliteServerStore } from '../../src/index.ts'
import { verifyBackup } from '../../src/store/backup/read-backup.ts'
import { loadSqliteDriver } from '../../src/store/sqlite/driver.ts'
import type { ServerStore } from '../../src/store/store.ts'
import { runCli } from '../support/daemon.ts'
import { findChangedRows } from '../support/disk/changed-rows.ts'
import { flipInPlace, relationFiles } from '../support/disk/relation-files.ts'
import {
  expectRefusal,
  fill,
  hasServedWrong,
  isSameServed,
  RECORDS,
  type Served,
  serve,
} from '../support/disk/served-store.ts'
import { PostgresServer } from '../support/postgres.ts'
import { randomOf, seedOf } from '../support/socket-client.ts'
import { reportFigures, sized, timeoutMs } from '../support/trust.ts'

const FLIPS = sized(40, 300)
const POSTGRES_FLIPS = sized(12, 100)
/** Of what is named by the store, the command line is asked as often. */
const CHECKED = sized(3, 20)
const random = randomOf(seedOf('bit rot'))

/** The places that are certainly damaged; null: it cannot be looked for. */
async function findDamage(open: () => Promise<ServerStore>): Promise<readonly string[] | null> {
  const places: string[] = []
  try {
    const store = await open()
    try {
      await store.findDamage?.({ onDamage: ({ place, isCertain }) => isCertain && places.push(place) })
    } finally {
      await store.close().catch(() => {})
    }
  } catch (error) {
    expectRefusal(error)
    return null
  }
  return places
}

type Outcome = 'harmless' | 'refused' | 'named' | 'UNNOTICED' | 'SERVED WRONG' | 'NOT NAMED'

const GOOD: ReadonlySet<Outcome> = new Set(['harmless', 'refused', 'named'])

/**
 * What comes of a store one bit of which is another.
 *
 * @param hit per row that the bit has changed, as far as it is known, the places that it may be named by
 */
async function outcomeOf(
  open: (options: { readonly readOnly: boolean }) => Promise<ServerStore>,
  sound: Served,
  hit: readonly (readonly string[])[],
): Promise<{ outcome: Outcome; places: readonly string[] }> {
  let served: Served
  try {
    const store = await open({ readOnly: false })
    try {
      served = await serve(store)
    } finally {
      await store.close().catch(() => {})
    }
  } catch (error) {
    expectRefusal(error)
    return { outcome: 'refused', places: [] } // it does not open, or does not start
  }
  if (isSameServed(served, sound) && hit.length === 0) return { outcome: 'harmless', places: [] }
  const places = await findDamage(() => open({ readOnly: true }))
  if (hasServedWrong(served, sound, places ?? [])) return { outcome: 'SERVED WRONG', places: [] }
  if (hit.length > 0) {
    const isNamed = hit.every((names) => names.some((place) => places?.includes(place)))
    return { outcome: isNamed ? 'named' : 'NOT NAMED', places: places ?? [] }
  }
  if (places === null) return { outcome: 'refused', places: [] }
  if (places.length > 0) return { outcome: 'named', places }
  return { outcome: served.isReported ? 'NOT NAMED' : 'UNNOTICED', places }
}

function sqliteStore(filename: string) {
  return async ({ readOnly }: { readonly readOnly: boolean }): Promise<ServerStore> =>
    createSqliteServerStore({ filename, readOnly })
}

function flipBit(bytes: Buffer, position: number): Buffer {
  const damaged = Buffer.from(bytes)
  damaged[position] = (damaged[position] ?? 0) ^ (1 << Math.floor(random() * 8))
  return damaged
}

/** Flips the bit that gives row 104 of the log another number, which it returns. */
function giveNumberOfAnother(filename: string): number {
  const sound = readFileSync(filename)
  const text = rowsIn(filename).find(({ seq }) => seq === 104)?.wire_json ?? ''
  const start = sound.indexOf(text)
  for (let position = start - 100; position < start; position++) {
    for (let bit = 0; bit < 8; bit++) {
      const damaged = Buffer.from(sound)
      damaged[position] = (damaged[position] ?? 0) ^ (1 << bit)
      writeFileSync(filename, damaged)
      const moved = rowsIn(filename).find(({ seq, wire_json }) => wire_json === text && seq !== 104)
      if (moved !== undefined) return moved.seq
    }
  }
  throw new Error('No bit before the row is of its number')
}

/** All rows of the log in the order of the file; none where it cannot be read. */
function rowsIn(filename: string): readonly { readonly seq: number; readonly wire_json: string }[] {
  const db = new (loadSqliteDriver())(filename, { readonly: true })
  try {
    return db.prepare('SELECT * FROM _kora_operations NOT INDEXED').all() as ReturnType<typeof rowsIn>
  } catch {
    return []
  } finally {
    db.close()
  }
}

describe('a bit that is another than was written', () => {
  test(
    'in an SQLite store is never served as an operation, and never goes unnoticed',
    async () => {
      const directory = mkdtempSync(join(tmpdir(), 'kora-bit-rot-'))
      try {
        const filename = join(directory, 'store.db')
        const store = createSqliteServerStore({ filename })
        await fill(store)
        await store.close()
        const bytes = readFileSync(filename)
        const copy = join(directory, 'copy.db')
        writeFileSync(copy, bytes)
        const whole = createSqliteServerStore({ filename: copy })
        const sound = await serve(whole)
        await whole.close()
        expect(sound.isReported).toBe(false)
        expect(sound.operations.map((texts) => texts.length > RECORDS / 3)).toEqual([true, true])

        const outcomes: Record<string, number> = {}
        const bad: { position: number; outcome: Outcome; hit: readonly string[] }[] = []
        let checked = 0
        let rowsHit = 0
        for (let flip = 0; flip < FLIPS; flip++) {
          const position = Math.floor(random() * bytes.length)
          const damaged = flipBit(bytes, position)
          const write = (): void => {
            for (const suffix of ['-wal', '-shm']) rmSync(`${copy}${suffix}`, { force: true })
            writeFileSync(copy, damaged)
          }
          write()
          const hit = findChangedRows(filename, copy, ['todos']) ?? []
          const { outcome, places } = await outcomeOf(sqliteStore(copy), sound, hit)
          outcomes[outcome] = (outcomes[outcome] ?? 0) + 1
          if (hit.length > 0) rowsHit++
          if (!GOOD.has(outcome)) bad.push({ position, outcome, hit: hit.flat() })
          if (outcome !== 'named' || checked >= CHECKED) continue
          checked++
          write()
          const check = await runCli(['check', '--deep', '--db', copy], { directory })
          expect(check, check.stderr).toMatchObject({ code: 1 })
          for (const names of hit.length > 0 ? hit : [places.slice(0, 1)]) {
            expect(
              names.some((place) => check.stdout.includes(place)),
              `${names} in ${check.stdout}`,
            ).toBe(true)
          }
        }

        reportFigures('bit rot, SQLite', {
          flips: FLIPS,
          'bytes of the file': bytes.length,
          ...outcomes,
          'in rows of the log, records and tables': rowsHit,
          'named by the command, too': checked,
        })
        expect(bad).toEqual([])
        expect(checked).toBe(CHECKED)
        expect(outcomes.named ?? 0).toBeGreaterThan(0) // some have hit what is read
      } finally {
        rmSync(directory, { recursive: true, force: true })
      }
    },
    timeoutMs(300_000),
  )

  test(
    'in the files of a PostgreSQL database is never served as an operation, and never goes unnoticed',
    async () => {
      await using server = await PostgresServer.start(['fsync=off', 'autovacuum=off'])
      await using database = await server.openDatabase()
      const { connectionString } = database
      const open = ({ readOnly = false } = {}): Promise<ServerStore> =>
        createPostgresServerStore({ connectionString, readOnly })
      const store = await open()
      await fill(store)
      const sound = await serve(store)
      await store.close()
      expect(sound.isReported).toBe(false)
      await database.query('CREATE EXTENSION pg_buffercache')
      const files = await relationFiles(database)
      const bytes = files.reduce((sum, file) => sum + file.bytes, 0)

      const outcomes: Record<string, number> = {}
      const bad: { position: number; outcome: Outcome }[] = []
      for (let flip = 0; flip < POSTGRES_FLIPS; flip++) {
        const position = Math.floor(random() * bytes)
        const bit = Math.floor(random() * 8)
        await database.query('SELECT pg_buffercache_evict_all()') // so that pages come from the files
        flipInPlace(files, position, bit)
        const { outcome } = await outcomeOf(open, sound, [])
        flipInPlace(files, position, bit)
        outcomes[outcome] = (outcomes[outcome] ?? 0) + 1
        if (!GOOD.has(outcome)) bad.push({ position, outcome })
      }

      reportFigures('bit rot, PostgreSQL', {
        flips: POSTGRES_FLIPS,
        'bytes of the files': bytes,
        ...outcomes,
      })
      expect(bad).toEqual([])
      expect((outcomes.refused ?? 0) + (outcomes.named ?? 0)).toBeGreaterThan(0) // some have hit what is read
      expect(await findDamage(open)).toEqual([]) // every bit is back

      await database.query('SELECT pg_buffercache_evict_all()')
      flipInPlace(
        files.filter(({ name }) => name === '_kora_operations'),
        100,
        0,
      )
      const check = await runCli(['check', '--deep', '--db', connectionString])
      expect(check, check.stdout + check.stderr).toMatchObject({ code: 1 })
      expect(check.stdout).toMatch(
        /table _kora_operations +the database cannot read it: invalid page in block 0/,
      )
      expect(check.stdout).toContain('it reports damaged data. See its log')
      expect(server.log()).toMatch(/invalid page in block 0 of relation/)
    },
    timeoutMs(300_000),
  )

  test('that gives a row the number of another one is named, with all the rest that is damaged', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'kora-bit-rot-'))
    try {
      const filename = join(directory, 'store.db')
      const store = createSqliteServerStore({ filename })
      await fill(store)
      await store.close()
      const number = giveNumberOfAnother(filename)

      const places = await findDamage(() => sqliteStore(filename)({ readOnly: true }))
      expect(places).toEqual(expect.arrayContaining(['the file', `row ${number} of the log`]))
      expect(places?.some((place) => place.startsWith('record todos/'))).toBe(true)
    } finally {
      rmSync(directory, { recursive: true, force: true })
    }
  })

  test('in the name of a tracked field is named, and nobody is served what is not theirs', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'kora-bit-rot-'))
    try {
      const filename = join(directory, 'store.db')
      const store = createSqliteServerStore({ filename })
      await fill(store)
      const sound = await serve(store)
      await store.close()
      const db = new (loadSqliteDriver())(filename)
      expect(
        db.prepare("UPDATE _kora_tracked SET field = 'userIe' WHERE field = 'userId'").run().changes,
      ).toBe(1)
      db.close()

      expect(await outcomeOf(sqliteStore(filename), sound, [])).toEqual({
        outcome: 'named',
        places: ['row 1 of _kora_tracked'],
      })
    } finally {
      rmSync(directory, { recursive: true, force: true })
    }
  })

  test.each([
    ['is_ready INTEGER', 'is_reade INTEGER'],
    ['instr(', 'inste('], // of the condition of an index
    ['key TEXT PRIMARY KEY, value', 'kew TEXT PRIMARY KEY, value'], // of the table that says what layout it is
  ])(
    'in the definition of a table is told as damage when the store is opened: %s',
    async (written, damaged) => {
      const directory = mkdtempSync(join(tmpdir(), 'kora-bit-rot-'))
      try {
        const filename = join(directory, 'store.db')
        await createSqliteServerStore({ filename }).close()
        const bytes = readFileSync(filename, 'latin1')
        expect(bytes).toContain(written)
        writeFileSync(filename, bytes.replaceAll(written, damaged), 'latin1')

        expect(() => createSqliteServerStore({ filename })).toThrow(
          expect.objectContaining({ code: 'STORE_CORRUPT' }),
        )
      } finally {
        rmSync(directory, { recursive: true, force: true })
      }
    },
  )

  test(
    'in a backup refuses it',
    async () => {
      const store = createSqliteServerStore({ filename: ':memory:' })
      await fill(store)
      const backup = Buffer.from(await store.exportBackup())
      await store.close()
      async function* piece(bytes: Buffer): AsyncGenerator<Uint8Array> {
        yield bytes
      }
      expect((await verifyBackup(piece(backup))).operations).toBeGreaterThan(RECORDS)

      for (let flip = 0; flip < FLIPS * 5; flip++) {
        const position = Math.floor(random() * backup.length)
        await expect(verifyBackup(piece(flipBit(backup, position))), `at ${position}`).rejects.toMatchObject({
          code: 'BACKUP_INVALID',
        })
      }
      reportFigures('bit rot, backup', {
        flips: FLIPS * 5,
        'bytes of the file': backup.length,
        refused: FLIPS * 5,
      })
    },
    timeoutMs(120_000),
  )
})
