import { createHash } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { t } from '../../../src/core/schema/builders.ts'
import { defineSchema } from '../../../src/core/schema/define-schema.ts'
import {
  formatHeader,
  formatSectionHeader,
  formatTrailer,
  formatTrailerStart,
  MAX_SCHEMA_BYTES,
} from '../../../src/store/backup/backup-format.ts'
import { formatSchema, parseBackupSchema } from '../../../src/store/backup/backup-schema.ts'
import { verifyBackup } from '../../../src/store/backup/read-backup.ts'
import { restoreBackup } from '../../../src/store/backup/restore-backup.ts'
import { withEarlierFields } from '../../../src/store/materialize/earlier-fields.ts'
import { describeEachStore } from '../../support/each-store.ts'
import { fuzzSchema } from '../../support/fuzz/frame-targets.ts'
import { appendAll, OperationAuthor } from '../../support/operation-author.ts'
import { todoSchema } from '../../support/todo-schema.ts'

const field = JSON.parse(JSON.stringify(todoSchema.collections.todos?.fields.title))
const plain = JSON.parse(
  JSON.stringify(defineSchema({ version: 2, collections: { todos: { fields: { title: t.string() } } } })),
)

/** A backup of no operation, with these lines as its schema. */
function backupWith(lines: readonly string[], { hasSchema = true } = {}): Buffer {
  const raw = Buffer.from(lines.map((line) => `${line}\n`).join(''))
  const bytes = gzipSync(raw)
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  const header = {
    isCompacted: false,
    hasSchema,
    createdAt: '2026-01-31T12:00:00.000Z',
    nodeId: 'n',
    formerNodeIds: [],
  }
  const section = {
    section: 'schema',
    count: lines.length,
    bytes: bytes.length,
    rawBytes: raw.length,
    sha256,
  } as const
  const start = Buffer.concat([
    Buffer.from(formatHeader(header)),
    ...(lines.length > 0 ? [Buffer.from(formatSectionHeader(section)), bytes] : []),
  ])
  const trailer = {
    nodes: 0,
    revocations: 0,
    operations: 0,
    dropped: 0,
    schema: lines.length,
    maxDeliverySequence: 0,
  }
  const whole = createHash('sha256').update(start).update(formatTrailerStart(trailer)).digest('hex')
  return Buffer.concat([start, Buffer.from(formatTrailer({ ...trailer, sha256: whole }))])
}

async function* only(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}

function nested(levels: number): string {
  return `${'['.repeat(levels)}${']'.repeat(levels)}`
}

const many = (count: number, value: unknown) =>
  Object.fromEntries(Array.from({ length: count }, (_, index) => [`c${index}`, value]))

/** What no store has written, each as the JSON of a schema. */
const HOSTILE: readonly (readonly [what: string, line: string])[] = [
  ['no JSON', '{"version":'],
  ['no object', '[]'],
  ['no collections', JSON.stringify({ ...plain, collections: {} })],
  [
    'a table of ours',
    JSON.stringify({ ...plain, collections: { _kora_operations: plain.collections.todos } }),
  ],
  [
    'a table of ours that was retired',
    JSON.stringify({ ...plain, retired: { _kora_operations: { title: field } } }),
  ],
  ['a table of SQLite', JSON.stringify({ ...plain, retired: { sqlite_schema: { title: field } } })],
  [
    'a name that ends the statement',
    JSON.stringify({ ...plain, retired: { 'a"; drop table x; --': { title: field } } }),
  ],
  ['a column of ours', JSON.stringify({ ...plain, retired: { todos: { _deleted: field } } })],
  ['a retired field that is none', JSON.stringify({ ...plain, retired: { todos: { mood: 1 } } })],
  ['a retired field of no kind', JSON.stringify({ ...plain, retired: { todos: { mood: {} } } })],
  ['a retired collection without fields', JSON.stringify({ ...plain, retired: { notes: {} } })],
  ['retired fields that are none', JSON.stringify({ ...plain, retired: [] })],
  ['names that differ by case', JSON.stringify({ ...plain, retired: { Todos: { title: field } } })],
  [
    'fields that differ by case',
    JSON.stringify({ ...plain, retired: { todos: { tITLE: field, tItle: field } } }),
  ],
  ['a prototype', `{"version":1,"collections":{"__proto__":${JSON.stringify(plain.collections.todos)}}}`],
  [
    'a prototype that was retired',
    JSON.stringify(plain).replace(/\}$/, `,"retired":{"__proto__":{"a":${JSON.stringify(field)}}}}`),
  ],
  ['more columns than a table holds', JSON.stringify({ ...plain, retired: { todos: many(1500, field) } })],
  ['more tables than are taken', JSON.stringify({ ...plain, retired: many(10_001, { title: field }) })],
  ['versions that are none', JSON.stringify({ ...plain, otherVersions: [] })],
  [
    'a version that is no number',
    JSON.stringify({ ...plain, otherVersions: { '01': { todos: ['title'] } } }),
  ],
  ['a version below 1', JSON.stringify({ ...plain, otherVersions: { 0: { todos: ['title'] } } })],
  [
    'more versions than are remembered',
    JSON.stringify({
      ...plain,
      otherVersions: Object.fromEntries(Array.from({ length: 21 }, (_, i) => [i + 3, {}])),
    }),
  ],
  ['a version with a bad name', JSON.stringify({ ...plain, otherVersions: { 1: { todos: ['title|.*'] } } })],
  ['a version without lists', JSON.stringify({ ...plain, otherVersions: { 1: { todos: 'title' } } })],
  ['nesting that takes the stack', `{"version":1,"migrations":${nested(1_000_000)}}`],
  ['nesting below the limit of V8', `{"version":1,"migrations":${nested(600)}}`],
]

test.each(HOSTILE)('a schema is refused as a part of a backup: %s', async (_, line) => {
  await expect(verifyBackup(only(backupWith([line])))).rejects.toMatchObject({ code: 'BACKUP_INVALID' })
})

test('what is said of a schema holds no control character of the file', async () => {
  const line = JSON.stringify({ ...plain, retired: { '\u001b[2J': { title: field } } })

  await expect(verifyBackup(only(backupWith([line])))).rejects.toMatchObject({
    message: expect.stringMatching(/^[^\p{Cc}]+$/u),
  })
})

test('a schema full of names that it does not have is refused within the time of some of them', async () => {
  const fields = many(1500, field)
  const indexes = Array.from({ length: 500_000 }, () => 'c1499999999999999')
  const line = JSON.stringify({ ...plain, collections: { todos: { fields, indexes } } })

  await expect(verifyBackup(only(backupWith([line])))).rejects.toMatchObject({
    code: 'BACKUP_INVALID',
    message: expect.stringMatching(/^.{0,800}$/s),
  })
})

test('the schema of a backup is there once where its first line tells of it, and nowhere else', async () => {
  const line = JSON.stringify(plain)

  await expect(verifyBackup(only(backupWith([line])))).resolves.toMatchObject({
    recordedSchema: { version: 2 },
  })
  for (const backup of [backupWith([]), backupWith([line, line]), backupWith([line], { hasSchema: false })]) {
    await expect(verifyBackup(only(backup))).rejects.toMatchObject({ code: 'BACKUP_INVALID' })
  }
  await expect(verifyBackup(only(backupWith([], { hasSchema: false })))).resolves.toMatchObject({
    recordedSchema: null,
  })
})

test('a section of the schema that is larger than any is refused by its first line', async () => {
  const spaces = ' '.repeat(MAX_SCHEMA_BYTES)

  await expect(verifyBackup(only(backupWith([`${JSON.stringify(plain)}${spaces}`])))).rejects.toMatchObject({
    code: 'BACKUP_INVALID',
    message: expect.stringContaining('a line between its sections is damaged'),
  })
})

test('a schema is read back as it was recorded, with all that it remembers', () => {
  const histories = [todoSchema, fuzzSchema].map((schema) =>
    withEarlierFields(
      { ...schema, version: 3 },
      withEarlierFields(
        { ...plain, version: 2 },
        defineSchema({ version: 1, collections: { notes: { fields: { text: t.string() } } } }),
      ),
    ),
  )

  for (const schema of histories) {
    const line = formatSchema(schema)
    expect(JSON.parse(JSON.stringify(parseBackupSchema(line ?? '')))).toEqual(
      JSON.parse(JSON.stringify(schema)),
    )
  }
})

test('a schema that no reader would take is left out of the backup rather than making it unreadable', () => {
  const defaultValue = 'x'.repeat(MAX_SCHEMA_BYTES)

  expect(
    formatSchema({
      ...plain,
      collections: { todos: { ...plain.collections.todos, fields: { title: { ...field, defaultValue } } } },
    }),
  ).toBeNull()
})

describeEachStore('a hostile schema in a backup', (openStore) => {
  test('changes nothing of the store', async () => {
    await using store = await openStore({ schema: todoSchema })
    await appendAll(store, [new OperationAuthor('a').insert('r', { title: 'kept', userId: 'u' })])
    const before = await store.readRecordedSchema()

    for (const [, line] of HOSTILE) {
      const backup = backupWith([line])
      await expect(restoreBackup(store, () => only(backup), 'replace')).rejects.toMatchObject({
        code: 'BACKUP_INVALID',
      })
    }

    expect(await store.queryCollection('todos')).toHaveLength(1)
    expect(await store.readRecordedSchema()).toEqual(before)
  })
})
