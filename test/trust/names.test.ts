import { readFileSync, statSync } from 'node:fs'
import { expect, test, vi } from 'vitest'
import { parseWhere } from '../../src/cli/query/where.ts'
import { KoraServerError } from '../../src/core/errors.ts'
import type { FieldValues, Operation } from '../../src/core/operation.ts'
import { defineSchema, t } from '../../src/core/schema/define-schema.ts'
import { parseSchema } from '../../src/core/schema/parse-schema.ts'
import { operationToWireJson } from '../../src/protocol/parse-operation.ts'
import { createPostgresServerStore } from '../../src/store/postgres/postgres-store.ts'
import { describeEachStore } from '../support/each-store.ts'
import { Mutator } from '../support/fuzz/mutator.ts'
import { OperationAuthor, recordIdOf, withId } from '../support/operation-author.ts'
import { openTestDatabase } from '../support/postgres.ts'
import { seedOf, startSocketServer } from '../support/socket-client.ts'
import { reportFigures, sized, timeoutMs } from '../support/trust.ts'

const QUERIES = sized(3334, 10_000) // on each of three stores

const HOSTILE: readonly string[] = [
  "'",
  '"',
  '""',
  "'); drop table todos; --",
  '"; drop table todos; --',
  'title" = "title',
  "title' or '1'='1",
  'title; select pg_sleep(10)',
  '$1',
  '?',
  ':title',
  '@title',
  '\\',
  "\\'; drop table todos; --",
  '`title`',
  '[title]',
  'title--',
  '/* title */',
  'title\u0000',
  '\u0000',
  '\ud800',
  '\u202etitle',
  'tıtle',
  'TITLE',
  '%',
  '_kora_operations',
  'pg_catalog.pg_class',
  'rowid',
  'ctid',
  'x'.repeat(64),
  'x'.repeat(100_000),
  '__proto__',
  'constructor',
  'toString',
  'hasOwnProperty',
  '',
]

const schema = defineSchema({
  version: 1,
  collections: {
    todos: {
      fields: {
        title: t.string().optional(),
        n: t.number().optional(),
        toString: t.string().optional(),
        valueOf: t.string().optional(),
        select: t.string().optional(),
      },
      indexes: ['title', 'select'],
    },
    order: { fields: { group: t.string().optional() } },
  },
})

async function attempt(action: () => unknown): Promise<'refused' | 'answered'> {
  try {
    await action()
    return 'answered'
  } catch (error) {
    if (error instanceof KoraServerError) return 'refused'
    throw error
  }
}

describeEachStore('names and values of a query', (openStore) => {
  test(
    'are refused by name, or are values',
    async () => {
      const seed = seedOf('queries')
      const mutator = new Mutator(seed)
      await using store = await openStore({ schema })
      await store.applyRemoteOperation(new OperationAuthor('a').insert(recordIdOf('r'), { title: 'kept' }))
      const fields = [...Object.keys(schema.collections.todos?.fields ?? {}), 'id', '_created_at']
      const counts = { refused: 0, answered: 0 }
      for (let count = 0; count < QUERIES; count++) {
        const name = mutator.random() < 0.5 ? mutator.pick(HOSTILE) : mutator.pick(fields)
        const value = mutator.pick<unknown>([...HOSTILE, null, 1, -0, 2 ** 60, true, [], {}, Number.NaN])
        const isKnown = fields.includes(name)
        const where = JSON.parse(`{${JSON.stringify(name)}:0}`) as Record<string, unknown>
        for (const key of Object.keys(where)) Object.defineProperty(where, key, { value, enumerable: true })
        const outcome = await attempt(() =>
          mutator.pick([
            () => store.queryCollection('todos', { where }),
            () => store.countCollection('todos', where),
            () => store.queryCollection('todos', { orderBy: name }),
            () => store.queryCollection(name),
            () => store.findRecord('todos', typeof value === 'string' ? value : 'x'),
          ])(),
        )
        counts[outcome]++
        const flag = `${name}=${String(value)}`
        const todos = schema.collections.todos
        if (!isKnown && todos !== undefined && !/[:=]/.test(name)) {
          expect(await attempt(() => parseWhere([flag], todos))).toBe('refused')
        }
      }
      expect(counts.refused).toBeGreaterThan(0)
      expect(counts.answered).toBeGreaterThan(0)
      expect(await store.queryCollection('todos', {})).toMatchObject([{ title: 'kept' }])
      reportFigures('queries', { queries: QUERIES, ...counts, crashes: 0, seed })
    },
    timeoutMs(60_000),
  )

  test('names that objects have by themselves are names like any other, and pollute nothing', async () => {
    await using store = await openStore({ schema })
    await using server = await startSocketServer({ store })
    const author = new OperationAuthor('toString')
    using client = await server.connect(
      'toString',
      { userId: 'constructor' },
      {
        messageId: '__proto__',
        versionVector: { valueOf: 0, hasOwnProperty: 0, constructor: 0 },
        syncScope: { todos: {}, toString: {}, constructor: {} },
        syncQueries: [
          { collection: 'todos', where: {} },
          { collection: 'valueOf', where: { toString: 1 } },
        ],
      },
    )
    const push = async (operations: readonly object[], messageId: string): Promise<void> => {
      const text = JSON.stringify({
        type: 'operation-batch',
        messageId,
        operations,
        isFinal: true,
        batchIndex: 0,
      })
      client.socket.send(text.replaceAll('"PROTO"', '"__proto__"'))
      await client.until(() =>
        client.ofType('acknowledgment').some((a) => a.acknowledgedMessageId === messageId),
      )
    }
    const good: Operation[] = [
      author.insert('constructor', { toString: 'a', valueOf: 'b' }),
      author.insert('__proto__', { title: 'c' }),
      author.insert(recordIdOf('x'), { title: 'd' }, { collection: 'hasOwnProperty' }),
      withId({
        ...author.insert(recordIdOf('y'), { title: 'e' }),
        atomicOps: { n: { type: 'increment', value: 1 } },
      }),
    ]
    await push(good, 'good')
    const bad = ['PROTO', 'constructor', 'prototype'].map((name) =>
      author.insert(recordIdOf(name), { [name]: { polluted: true } } as FieldValues),
    )
    await push(bad, 'bad')
    // The same name twice: the last one counts, for the log, the tables and whoever reads either.
    const twice = author.insert(recordIdOf('twice'), { title: 'last' })
    client.socket.send(
      `{"type":"operation-batch","messageId":"twice","isFinal":true,"batchIndex":0,"operations":[${JSON.stringify(
        twice,
      ).replace('"title":"last"', '"title":"first","title":"last"')}]}`,
    )
    await client.until(() => client.ofType('acknowledgment').length === 3)
    client.send({
      type: 'awareness-update',
      messageId: 'p',
      clientId: 1,
      states: { toString: null, constructor: null },
    })

    expect(
      client
        .ofType('operation-rejected')
        .map(({ operationId }) => operationId)
        .sort(),
    ).toEqual(bad.map(({ id }) => id).sort())
    expect(Object.keys(Object.prototype)).toEqual([])
    expect(({} as { polluted?: boolean }).polluted).toBeUndefined()
    const log = await store.getOperationsAfterDelivery(0, 100)
    expect(log.map(({ operation }) => operation.id)).toEqual([...good, twice].map(({ id }) => id))
    using reader = await server.connect('reader')
    const texts = reader.texts.join()
    for (const operation of [...good, twice]) expect(texts).toContain(operationToWireJson(operation))
    expect(texts).not.toContain('first')
    expect(await store.findRecord('todos', recordIdOf('twice'))).toMatchObject({ title: 'last' })
    expect(await store.findRecord('todos', 'constructor')).toMatchObject({ toString: 'a', valueOf: 'b' })
    expect(await store.findRecord('todos', '__proto__')).toMatchObject({ title: 'c' })
  })
})

test(
  'hostile values lead PostgreSQL to the statements that harmless ones lead to, and to no other',
  async () => {
    await using database = await openTestDatabase()
    const [{ name } = { name: '' }] = await database.query('select current_database() as name')
    await database.query(`alter database "${String(name)}" set log_statement = 'all'`)
    const { connectionString } = database
    const statementsOf = async (value: string): Promise<readonly string[]> => {
      const logBytes = statSync(serverLog()).size
      // Nothing is to be asked by the clock while it is written down what is asked.
      const store = await createPostgresServerStore({ connectionString, pollIntervalMs: 600_000 })
      const field = t.string().default(value)
      await store.setSchema(
        defineSchema({
          version: 1,
          collections: { todos: { fields: { title: field, kind: t.enum([value, 'x']).optional() } } },
        }),
      )
      for (const where of [{ title: value }, { id: value }, { kind: value }]) {
        await attempt(() => store.queryCollection('todos', { where }))
      }
      // It begins to listen in the background: a store that is closed before asks for one statement less.
      await vi.waitUntil(() => logSince(logBytes).includes('LISTEN '), { timeout: 10_000 })
      await store.close()
      const statements = loggedStatements(logSince(logBytes))
      await database.query('drop table todos')
      await database.query('drop schema public cascade')
      await database.query('create schema public')
      return statements
    }

    const harmless = await statementsOf('harmless')
    const values = HOSTILE.slice(0, sized(5, HOSTILE.length))
    const extra: string[] = []
    const missing: string[] = []
    for (const value of values) {
      const statements = await statementsOf(value)
      extra.push(...withoutEach(statements, harmless))
      missing.push(...withoutEach(harmless, statements))
    }

    reportFigures('statement log', {
      values: values.length,
      'statements of a harmless one': harmless.length,
      'extra statements': extra.length,
      'queries answered without one': missing.length,
    })
    expect(harmless.filter((statement) => /^select/i.test(statement)).length).toBeGreaterThan(5)
    expect(harmless.filter((statement) => statement.includes('default ?')).length).toBeGreaterThan(0)
    expect(extra).toEqual([])
    // What no column can hold is looked for in none.
    expect(missing.filter((statement) => !statement.startsWith('select "id", "title"'))).toEqual([])
  },
  timeoutMs(60_000),
)

function serverLog(): string {
  return `${process.env.KORA_TEST_POSTGRES_DIRECTORY}/data/server.log`
}

function logSince(bytes: number): string {
  return readFileSync(serverLog()).subarray(bytes).toString()
}

/**
 * The statements in a log of PostgreSQL, without what their string literals hold: a value that gets out of its
 * literal makes another statement of it.
 */
function loggedStatements(log: string): readonly string[] {
  const entries = log.split(/^\d{4}-\d\d-\d\d [\d:.]+ \S+ \[\d+\] /m)
  return entries.flatMap((entry) => {
    const [, statement] = /^LOG: {2}(?:statement|execute [^:]+): (.*)/s.exec(entry) ?? []
    return statement === undefined ? [] : [statement.trim().replaceAll(/'(?:[^']|'')*'/g, '?')]
  })
}

/** The statements, less one for each of the others that reads the same. */
function withoutEach(statements: readonly string[], others: readonly string[]): readonly string[] {
  const left = [...others]
  return statements.filter((statement) => {
    const index = left.indexOf(statement)
    if (index >= 0) left.splice(index, 1)
    return index < 0
  })
}

test('names that a database would cut or take for the same are refused', () => {
  const long = 'a'.repeat(63)
  const refused = (collections: object): boolean => {
    try {
      parseSchema({ version: 1, collections })
      return false
    } catch {
      return true
    }
  }
  const fields = { title: { kind: 'string' } }

  expect(refused({ [long]: { fields } })).toBe(false)
  expect(refused({ [`${long}a`]: { fields } })).toBe(true)
  expect(refused({ todos: { fields: { [`${long}a`]: { kind: 'string' } } } })).toBe(true)
  expect(refused({ todos: { fields }, Todos: { fields } })).toBe(true)
  expect(refused({ todos: { fields: { title: { kind: 'string' }, tItle: { kind: 'string' } } } })).toBe(true)
})
