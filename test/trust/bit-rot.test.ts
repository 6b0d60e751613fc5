import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { Operation } from '../../src/core/operation.ts'
import { checkOperationId } from '../../src/core/operation-id.ts'
import { createSqliteServerStore } from '../../src/index.ts'
import { verifyBackup } from '../../src/store/backup/read-backup.ts'
import type { ServerStore } from '../../src/store/store.ts'
import { runCli } from '../support/daemon.ts'
import { findChangedRows } from '../support/disk/changed-rows.ts'
import { appendAll, OperationAuthor, recordIdOf } from '../support/operation-author.ts'
import {
  randomOf,
  type SocketServer,
  seedOf,
  startSocketServer,
  type TokenClaims,
} from '../support/socket-client.ts'
import { todoSchema } from '../support/todo-app.ts'
import { reportFigures, sized, timeoutMs } from '../support/trust.ts'

const FLIPS = sized(40, 300)
/** Of what is named by the store, the command line is asked as often. */
const CHECKED = sized(3, 20)
const RECORDS = 60
const USERS = ['alice', 'bob', 'carol']
const READERS: readonly TokenClaims[] = [
  { userId: 'admin', scopes: null },
  { userId: 'alice', scopes: { todos: { userId: 'alice' } } },
]

const random = randomOf(seedOf('bit rot'))

/** A store with a history: scopes, moves between them, deleted records. */
async function fill(store: ServerStore): Promise<void> {
  await store.setSchema(todoSchema)
  await store.trackScopeField('todos', 'userId', { isGranted: true })
  const authors = USERS.map((user) => new OperationAuthor(`phone of ${user}`))
  for (let index = 0; index < RECORDS; index++) {
    const author = authors[index % USERS.length] as OperationAuthor
    const id = recordIdOf(`${index}`)
    const operations = [
      author.insert(id, {
        title: `title ${index} ${'text '.repeat(20)}`,
        tags: ['a'],
        userId: USERS[index % 3] ?? '',
      }),
      author.update(id, { done: true, tags: ['a', `${index}`] }),
      ...(index % 7 === 0 ? [author.update(id, { userId: 'alice' })] : []),
      ...(index % 11 === 0 ? [author.delete(id)] : []),
    ]
    await appendAll(store, operations)
  }
}

/** Everything that is served of a store: to clients through the protocol, and to whoever queries. */
interface Served {
  /** Per reader the operations, in order, as text. */
  readonly operations: readonly (readonly string[])[]
  readonly records: string
  /** Something was refused because it is damaged. */
  readonly isReported: boolean
}

/** What the server says of what it cannot read. Anything else would be a mistake of its own. */
const REFUSALS: readonly unknown[] = ['STORE_CORRUPT', 'STORE_OPEN_FAILED', 'STORE_NEWER']

function expectRefusal(error: unknown): void {
  expect(REFUSALS, String((error as Error).stack)).toContain((error as { code?: unknown }).code)
}

async function serve(store: ServerStore): Promise<Served> {
  let isReported = false
  const operations: string[][] = []
  await using server = await startSocketServer({ store } as Parameters<typeof startSocketServer>[0])
  for (const claims of READERS) {
    const { texts, isCutOff } = await readAll(server, claims)
    operations.push(texts)
    isReported ||= isCutOff
  }
  const records = await store.queryCollection('todos', { includeDeleted: true }).catch((error: unknown) => {
    expectRefusal(error)
    isReported = true
    return []
  })
  return { operations, records: JSON.stringify(records), isReported }
}

async function readAll(server: SocketServer, claims: TokenClaims) {
  using client = await server.connect(`reader for ${claims.userId}`, claims)
  const texts = client
    .ofType('operation-batch')
    .flatMap((batch) => batch.operations.map((operation) => JSON.stringify(operation)))
  return { texts, isCutOff: client.isEnded }
}

/** The places that are certainly damaged; null: it cannot be looked for. */
async function findDamage(filename: string): Promise<readonly string[] | null> {
  const places: string[] = []
  try {
    const store = createSqliteServerStore({ filename, readOnly: true })
    try {
      await store.findDamage({ onDamage: ({ place, isCertain }) => isCertain && places.push(place) })
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
 * @param hit places that the bit has changed, as far as it is known
 */
async function outcomeOf(
  filename: string,
  sound: Served,
  hit: ReadonlySet<string>,
): Promise<{ outcome: Outcome; places: readonly string[] }> {
  let served: Served
  try {
    const store = createSqliteServerStore({ filename })
    try {
      served = await serve(store)
    } finally {
      await store.close().catch(() => {})
    }
  } catch (error) {
    expectRefusal(error)
    return { outcome: 'refused', places: [] } // it does not open, or does not start
  }
  if (hasServedWrong(served, sound)) return { outcome: 'SERVED WRONG', places: [] }
  const isSame =
    JSON.stringify(served.operations) === JSON.stringify(sound.operations) && served.records === sound.records
  if (isSame && hit.size === 0) return { outcome: 'harmless', places: [] }
  const places = await findDamage(filename)
  if (hit.size > 0) {
    const isNamed = [...hit].every((place) => places?.includes(place) === true)
    return { outcome: isNamed ? 'named' : 'NOT NAMED', places: places ?? [] }
  }
  if (places === null) return { outcome: 'refused', places: [] }
  if (places.length > 0) return { outcome: 'named', places }
  return { outcome: served.isReported ? 'NOT NAMED' : 'UNNOTICED', places }
}

/** An operation that nobody wrote so, or whose id no longer follows from it. */
function hasServedWrong(served: Served, sound: Served): boolean {
  return served.operations.some((texts, reader) => {
    const written = new Set(sound.operations[reader])
    return texts.some(
      (text) => !written.has(text) || checkOperationId(JSON.parse(text) as Operation) === 'mismatch',
    )
  })
}

function flipBit(bytes: Buffer, position: number): Buffer {
  const damaged = Buffer.from(bytes)
  damaged[position] = (damaged[position] ?? 0) ^ (1 << Math.floor(random() * 8))
  return damaged
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
          const hit = findChangedRows(filename, copy, ['todos']) ?? new Set()
          const { outcome, places } = await outcomeOf(copy, sound, hit)
          outcomes[outcome] = (outcomes[outcome] ?? 0) + 1
          if (hit.size > 0) rowsHit++
          if (!GOOD.has(outcome)) bad.push({ position, outcome, hit: [...hit] })
          if (outcome !== 'named' || checked >= CHECKED) continue
          checked++
          write()
          const check = await runCli(['check', '--deep', '--db', copy], { directory })
          expect(check, check.stderr).toMatchObject({ code: 1 })
          for (const place of hit.size > 0 ? hit : places.slice(0, 1)) expect(check.stdout).toContain(place)
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

  test('in the definition of a table is told as damage when the store is opened', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'kora-bit-rot-'))
    try {
      const filename = join(directory, 'store.db')
      await createSqliteServerStore({ filename }).close()
      const bytes = readFileSync(filename, 'latin1')
      expect(bytes).toContain('is_ready INTEGER')
      writeFileSync(filename, bytes.replaceAll('is_ready INTEGER', 'is_reade INTEGER'), 'latin1')

      expect(() => createSqliteServerStore({ filename })).toThrow(
        expect.objectContaining({ code: 'STORE_CORRUPT' }),
      )
    } finally {
      rmSync(directory, { recursive: true, force: true })
    }
  })

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
