import { rmSync, writeFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { systemRuntime } from '../../../src/core/system-runtime.ts'
import { createPostgresServerStore } from '../../../src/index.ts'
import type { Damage } from '../../../src/store/damage/damage.ts'
import {
  findDamagedPages,
  type Relation,
  relationNamedIn,
} from '../../../src/store/postgres/damaged-pages.ts'
import { PostgresDatabase } from '../../../src/store/postgres/database.ts'
import { flipInPlace, type RelationFile, relationFiles } from '../../support/disk/relation-files.ts'
import { appendAll, OperationAuthor, recordIdOf } from '../../support/operation-author.ts'
import { PostgresServer } from '../../support/postgres.ts'
import { todoSchema } from '../../support/todo-app.ts'

const PAGE_BYTES = 8192
const OPERATIONS = 1000 // so that indexes have pages above their leaves

test('a damaged page is told with its table or its index', async () => {
  await using server = await PostgresServer.start(['fsync=off', 'autovacuum=off'])
  await using database = await server.openDatabase()
  const { connectionString } = database
  const store = await createPostgresServerStore({ connectionString })
  await store.setSchema(todoSchema)
  await store.trackScopeField('todos', 'userId', { isGranted: true })
  const author = new OperationAuthor('phone')
  const operations = Array.from({ length: OPERATIONS }, (_, index) =>
    author.insert(recordIdOf(`${index}`), { title: `title ${index}`, tags: [], userId: `user ${index}` }),
  )
  await appendAll(store, operations)
  await store.close()
  await database.query("UPDATE _kora_nodes SET user_id = 'alice', has_written = true")
  await database.query('CREATE EXTENSION pg_buffercache')
  const find = (): Promise<readonly Damage[]> => findIn(connectionString, ['todos'])
  expect(await find()).toEqual([])

  const files = (await relationFiles(database)).filter(({ name }) =>
    /operations|records|scope|nodes|todos/.test(name),
  )
  const large = files.filter(({ bytes }) => bytes > 2 * PAGE_BYTES)
  expect(large.map(({ name }) => name)).toEqual(
    expect.arrayContaining(['_kora_operations', '_kora_operations_id_idx', '_kora_scope_pkey', 'todos']),
  )
  for (const file of files) {
    const told = new Set<string>()
    // Of indexes the first is no leaf; of large ones the second or, once that was split, the fourth is their root.
    for (const block of [0, 1, 3].filter((number) => number * PAGE_BYTES < file.bytes)) {
      await database.query('SELECT pg_buffercache_evict_all()') // so that pages come from the files
      flipInPlace([file], block * PAGE_BYTES + 100, 0)
      const damage = await find()
      flipInPlace([file], block * PAGE_BYTES + 100, 0)
      if (damage.length === 0) continue
      expect(damage).toEqual([
        {
          place: expect.stringMatching(new RegExp(`^(table|index) ${file.name}$`)),
          problem: expect.stringContaining(`invalid page in block ${block} of relation "base/`),
          isCertain: true,
        },
      ])
      if (file.name.includes('_idx') || file.name.endsWith('_pkey')) {
        expect(damage[0]?.problem).toContain(`REINDEX INDEX "public"."${file.name}" writes it anew`)
      }
      told.add(`${block}`)
    }
    expect(told.has('0'), file.name).toBe(true)
    const mayBeUnused = /_kora_ix_|_user_id_idx/.test(file.name) // pages of hash indexes
    if (large.includes(file) && !mayBeUnused) expect([...told], file.name).toEqual(['0', '1', '3'])
  }
}, 120_000)

test.each([
  ['a first page', (path: string) => writeFileSync(path, Buffer.alloc(PAGE_BYTES))],
  ['a file', (path: string) => rmSync(path)],
])(
  'an index without %s is told, and nothing else of its table',
  async (_, damage) => {
    const name = '_kora_operations_record_seq_idx'
    await using server = await PostgresServer.start(['fsync=off', 'autovacuum=off'])
    await using database = await server.openDatabase()
    const { connectionString } = database
    await (await createPostgresServerStore({ connectionString })).close()
    const file = (await relationFiles(database)).find((other) => other.name === name) as RelationFile
    await server.stop()
    damage(file.path)
    await server.start()

    const found = await findIn(connectionString, [])

    const remedy = `REINDEX INDEX "public"."${name}"`
    const problem = expect.stringMatching(
      new RegExp(`^the database cannot read it: .*${remedy} writes it anew$`),
    )
    expect(found).toEqual([{ place: `index ${name}`, problem, isCertain: true }])
    await database.query(remedy)
    expect(await findIn(connectionString, [])).toEqual([])
  },
  60_000,
)

test('a damaged page is told also where it keeps the rest of the check from an answer', async () => {
  await using server = await PostgresServer.start(['fsync=off', 'autovacuum=off'])
  await using database = await server.openDatabase()
  const { connectionString } = database
  const filled = await createPostgresServerStore({ connectionString })
  const author = new OperationAuthor('phone')
  const operations = Array.from({ length: OPERATIONS }, (_, index) =>
    author.insert(recordIdOf(`${index}`), {}),
  )
  await appendAll(filled, operations)
  await filled.close()
  const name = '_kora_operations_node_sequence_number_idx'
  await server.stop()
  await server.start() // so that pages come from the files
  const file = (await relationFiles(database)).find((other) => other.name === name) as RelationFile
  flipInPlace([file], file.bytes - PAGE_BYTES + 100, 0) // the last page has the last operation of the node
  const store = await createPostgresServerStore({ connectionString, readOnly: true })
  const places: string[] = []

  const search = store.findDamage?.({ onDamage: ({ place }) => places.push(place) })

  await expect(search).rejects.toMatchObject({ code: 'STORE_CORRUPT' })
  expect(places).toEqual([`index ${name}`])
  await store.close()
}, 60_000)

test.each([
  'invalid page in block 0 of relation base/16384/16559', // PostgreSQL 14 to 17
  'invalid page in block 0 of relation "base/16384/16559"', // 18
  'could not read block 131072 in file "base/16384/16559.1": Input/output error',
  'index "todos_pkey" contains unexpected zero page at block 0',
  'Index »todos_pkey« enthält unerwartete Null-Seite in Block 0',
])('finds the index that a message is about: %s', (message) => {
  const ofTodos = (path: string, name: string): Relation => ({
    table: 'todos',
    path,
    index: { name, method: 'btree', keys: ['id'], predicate: 'true' },
  })
  const index = ofTodos('base/16384/16559', 'todos_pkey')
  const others = [ofTodos('base/16384/1655', 'todos_pkey1'), ofTodos('base/16384/165590', 'todos')]
  const table: Relation = { table: 'todos', path: 'base/16384/16500', index: null }

  expect(relationNamedIn(message, [table, ...others, index])).toBe(index)
})

async function findIn(connectionString: string, collections: readonly string[]): Promise<readonly Damage[]> {
  // Connections remember the first page of an index.
  const db = new PostgresDatabase({ connectionString, readOnly: true }, systemRuntime())
  try {
    return await findDamagedPages(db, collections)
  } finally {
    await db.close()
  }
}
