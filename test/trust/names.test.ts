import { readFileSync, statSync } from 'node:fs'
import { isDeepStrictEqual } from 'node:util'
import { describe, expect, test, vi } from 'vitest'
import { parseWhere } from '../../src/cli/query/where.ts'
import { KoraServerError } from '../../src/core/errors.ts'
import type { FieldValues, Operation } from '../../src/core/operation.ts'
import { t } from '../../src/core/schema/builders.ts'
import { defineSchema } from '../../src/core/schema/define-schema.ts'
import { parseSchema } from '../../src/core/schema/parse-schema.ts'
import { operationToWireJson } from '../../src/protocol/parse-operation.ts'
import { createPostgresServerStore } from '../../src/store/postgres/postgres-store.ts'
import type { ServerStore } from '../../src/store/store.ts'
import { describeEachStore, STORES } from '../support/each-store.ts'
import { Mutator } from '../support/fuzz/mutator.ts'
import { appendAll, OperationAuthor, recordIdOf, withId } from '../support/operation-author.ts'
import { openTestDatabase } from '../support/postgres.ts'
import { handshakeOf, type SocketServer, seedOf, startSocketServer } from '../support/socket-client.ts'
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

const GRANTED = { todos: { title: 'kept' } }

/** What comes of it: the answer as JSON, or the code of the refusal. Anything else is thrown. */
async function verdictOf(action: () => unknown): Promise<string> {
  try {
    return JSON.stringify(await action()) ?? 'nothing'
  } catch (error) {
    if (error instanceof KoraServerError) return `refused: ${error.code}`
    throw error
  }
}

const isRefused = (verdict: string): boolean => verdict.startsWith('refused: ')

/** The same in each of the three stores. */
async function openEachStore() {
  const opened = await Promise.all(
    STORES.map(async ([driver, open]) => ({ driver, store: await open({ schema }) })),
  )
  const author = new OperationAuthor('a')
  const operations = ['kept', 'hidden'].map((title) => author.insert(recordIdOf(title), { title }))
  for (const { store } of opened) await appendAll(store, operations)
  return {
    opened,
    async [Symbol.asyncDispose]() {
      for (const { store } of opened) await store[Symbol.asyncDispose]()
    },
  }
}

describe('names and values of a query', () => {
  test(
    'are refused by name, or are values, the same on every store',
    async () => {
      const seed = seedOf('queries')
      const mutator = new Mutator(seed)
      await using stores = await openEachStore()
      const fields = [...Object.keys(schema.collections.todos?.fields ?? {}), 'id', '_created_at']
      const counts = { refused: 0, answered: 0 }
      for (let count = 0; count < QUERIES; count++) {
        const name = mutator.random() < 0.5 ? mutator.pick(HOSTILE) : mutator.pick(fields)
        const value = mutator.pick<unknown>([
          ...HOSTILE,
          'kept',
          null,
          1,
          -0,
          2 ** 60,
          true,
          [],
          {},
          Number.NaN,
        ])
        const where: { [name: string]: unknown } = {}
        Object.defineProperty(where, name, { value, enumerable: true })
        const query = mutator.pick<(store: ServerStore) => unknown>([
          (store) => store.queryCollection('todos', { where }),
          (store) => store.countCollection('todos', where),
          (store) => store.queryCollection('todos', { orderBy: name }),
          (store) => store.queryCollection(name),
          (store) => store.findRecord('todos', typeof value === 'string' ? value : 'x'),
        ])
        const verdicts = await Promise.all(stores.opened.map(({ store }) => verdictOf(() => query(store))))
        const [verdict = ''] = verdicts
        expect(new Set(verdicts).size, `${String(query)} of ${name} and ${String(value)}: ${verdicts}`).toBe(
          1,
        )
        counts[isRefused(verdict) ? 'refused' : 'answered']++
        const todos = schema.collections.todos
        if (!fields.includes(name) && todos !== undefined && !/[:=]/.test(name)) {
          const flag = await verdictOf(() => parseWhere([`${name}=${String(value)}`], todos))
          expect(isRefused(flag), name).toBe(true)
        }
      }
      expect(counts.refused).toBeGreaterThan(0)
      expect(counts.answered).toBeGreaterThan(0)
      for (const { store } of stores.opened) {
        const titles = (await store.queryCollection('todos', {})).map(({ title }) => title)
        expect(titles.sort()).toEqual(['hidden', 'kept'])
      }
      reportFigures('queries', {
        queries: QUERIES,
        stores: stores.opened.length,
        ...counts,
        crashes: 0,
        seed,
      })
    },
    timeoutMs(120_000),
  )

  test(
    'of live queries as well, and nobody is shown more by them',
    async () => {
      await using stores = await openEachStore()
      const servers = await Promise.all(stores.opened.map(({ store }) => startSocketServer({ store })))
      const counts = { refused: 0, accepted: 0 }
      const subsets = HOSTILE.flatMap((name) => [
        `{"collection":"todos","where":{${JSON.stringify(name)}:"kept"}}`,
        `{"collection":${JSON.stringify(name)},"where":{}}`,
        `{"collection":"todos","where":{"title":${JSON.stringify(name)}}}`,
      ])
      for (const [index, subset] of subsets.entries()) {
        const verdicts = await Promise.all(servers.map((server) => subscribe(server, `n${index}`, subset)))
        const [verdict = ''] = verdicts
        expect(new Set(verdicts).size, `${subset.slice(0, 200)}: ${verdicts}`).toBe(1)
        expect(verdict, subset.slice(0, 200)).toMatch(/^(accepted: (kept)?|refused: (?!SYNC_ERROR)\w+)$/)
        counts[isRefused(verdict) ? 'refused' : 'accepted']++
      }
      // What they are held against: a subset that is met, and none.
      const met = '{"collection":"todos","where":{"title":"kept"}}'
      expect(await subscribe(servers[0], 'met', met)).toBe('accepted: kept')
      for (const server of servers) await server[Symbol.asyncDispose]()
      expect(counts.accepted).toBeGreaterThan(0)
      expect(counts.refused).toBeGreaterThan(0)
      reportFigures('live queries', { queries: subsets.length, stores: servers.length, ...counts })
    },
    timeoutMs(60_000),
  )
})

/**
 * Of a user who may see one of two records.
 *
 * @param subset JSON, so that its names may be any
 * @returns the titles that it was sent, or why not
 */
async function subscribe(server: SocketServer | undefined, nodeId: string, subset: string): Promise<string> {
  if (server === undefined) throw new Error('unreachable')
  using client = await server.open()
  const handshake = JSON.stringify(handshakeOf(nodeId, { scopes: GRANTED }, { syncQueries: [] }))
  client.socket.send(handshake.replace('"syncQueries":[]', () => `"syncQueries":[${subset}]`))
  await client.until(
    () =>
      client.ofType('error').length > 0 || client.ofType('operation-batch').some(({ isFinal }) => isFinal),
  )
  const [error] = client.ofType('error')
  if (error !== undefined) return `refused: ${error.code}`
  const operations = client.ofType('operation-batch').flatMap((batch) => batch.operations)
  return `accepted: ${operations.map(({ data }) => data?.title).join()}`
}

describeEachStore('names', (openStore) => {
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

const OWN_NAMES = [
  '__proto__',
  'constructor',
  'prototype',
  'toString',
  'hasOwnProperty',
  'valueOf',
  '__defineGetter__',
]

/** Where in a message a name may stand. Each makes another text of a good one. */
const POSITIONS: { readonly [position: string]: (text: string, name: string) => string } = {
  'a name of the message': (text, name) => text.replace('{', `{${JSON.stringify(name)}:{"polluted":true},`),
  'a name of the operation': (text, name) =>
    text.replace('{"id"', `{${JSON.stringify(name)}:{"polluted":true},"id"`),
  'a name of the timestamp': (text, name) =>
    text.replace('"timestamp":{', `"timestamp":{${JSON.stringify(name)}:{"polluted":true},`),
  'a field': (text, name) => text.replace('"data":{', `"data":{${JSON.stringify(name)}:{"polluted":true},`),
  'a field of a field': (text, name) =>
    text.replace('"n":1', `"n":{${JSON.stringify(name)}:{"polluted":true}}`),
  'an atomic operation': (text, name) =>
    text.replace('"data":{', `"atomicOps":{${JSON.stringify(name)}:{"type":"increment","value":1}},"data":{`),
  'a collection': (text, name) =>
    text.replace('"collection":"todos"', `"collection":${JSON.stringify(name)}`),
  'an author': (text, name) => text.replaceAll(/"nodeId":"[^"]*"/g, `"nodeId":${JSON.stringify(name)}`),
}

/** Names that are there twice: each makes a text whose last one is what the good text says. */
const TWICE: { readonly [position: string]: (text: string) => string } = {
  'of the message': (text) => text.replace('{', '{"messageId":"first","type":"first",'),
  'of the operation': (text) =>
    text.replace('{"id"', '{"id":"first","recordId":"first","collection":"first","id"'),
  'of the timestamp': (text) => text.replace('"timestamp":{', '"timestamp":{"wallTime":1,"nodeId":"first",'),
  'among fields': (text) => text.replace('"data":{', '"data":{"title":"first","n":0,'),
  'of the fields': (text) => text.replace('"data":{', '"data":{"title":"first"},"data":{'),
  'among atomic operations': (text) =>
    text.replace('"atomicOps":{', '"atomicOps":{"n":{"type":"max","value":0},'),
}

test('own names of objects, and names that are there twice, are read alike in every position on every store', async () => {
  const before = prototypesNow()
  await using stores = await openEachStore()
  const verdicts = await Promise.all(
    stores.opened.map(async ({ store }) => {
      await using server = await startSocketServer({ store })
      const found: string[] = []
      const attempts = [
        ...Object.entries(POSITIONS).flatMap(([position, change]) =>
          OWN_NAMES.map((name) => ({
            name: `${position}: ${name}`,
            change: (text: string) => change(text, name),
          })),
        ),
        ...Object.entries(TWICE).map(([position, change]) => ({ name: `twice ${position}`, change })),
      ]
      for (const [index, { name, change }] of attempts.entries()) {
        const author = new OperationAuthor(`node${index}`)
        const operation = withId({
          ...author.insert(recordIdOf(name), { title: 'last', n: 1 }),
          ...(name.startsWith('twice') && { atomicOps: { n: { type: 'increment', value: 1 } as const } }),
        })
        const batch = {
          type: 'operation-batch',
          messageId: 'm',
          operations: [operation],
          isFinal: true,
          batchIndex: 0,
        }
        const text = change(JSON.stringify(batch))
        expect(text, name).not.toBe(JSON.stringify(batch))
        found.push(`${name}: ${await verdictOfText(server, `node${index}`, text)}`)
      }
      const log = await store.getOperationsAfterDelivery(0, 1000)
      using reader = await server.connect('reader')
      const received = reader.texts.join()
      expect(received).not.toContain('first')
      expect(received).not.toContain('polluted":true},"id"') // what is no part of an operation is not kept
      for (const { operation } of log) {
        expect(received).toContain(operationToWireJson(operation))
        if (operation.collection !== 'todos') continue
        const { title, n } = operation.data ?? {}
        expect(await store.findRecord('todos', operation.recordId)).toMatchObject({
          title,
          ...(n !== undefined && { n }),
        })
      }
      return found
    }),
  )

  expect(verdicts[1]).toEqual(verdicts[0])
  expect(verdicts[2]).toEqual(verdicts[0])
  const twice = (verdicts[0] ?? []).filter((verdict) => verdict.startsWith('twice'))
  expect(twice.filter((verdict) => !verdict.endsWith(': stored'))).toEqual([])
  expect(pollutionSince(before)).toEqual([])
  reportFigures('names of objects, and names twice', {
    attempts: verdicts[0]?.length ?? 0,
    stores: verdicts.length,
    stored: (verdicts[0] ?? []).filter((verdict) => verdict.endsWith(': stored')).length,
    'prototypes polluted': 0,
  })
}, 60_000)

/** @returns whether the only operation of the batch was stored, or why not */
async function verdictOfText(server: SocketServer, nodeId: string, text: string): Promise<string> {
  using client = await server.connect(nodeId)
  client.socket.send(text)
  await client.until(() => client.ofType('acknowledgment').length > 0 || client.ofType('error').length > 0)
  const [refusal] = [...client.ofType('operation-rejected'), ...client.ofType('error')]
  return refusal === undefined ? 'stored' : refusal.code
}

const PROTOTYPES = [Object, Array, Function, String, Number, Boolean, Map, Set, Promise, Error].map(
  ({ prototype }) => prototype as object,
)

function prototypesNow(): ReadonlyMap<object, ReadonlyMap<PropertyKey, PropertyDescriptor | undefined>> {
  return new Map(
    PROTOTYPES.map((prototype) => [
      prototype,
      new Map(
        Reflect.ownKeys(prototype).map((key) => [key, Object.getOwnPropertyDescriptor(prototype, key)]),
      ),
    ]),
  )
}

/** What was added to the prototypes of everything, taken from them, or changed in them. */
function pollutionSince(before: ReturnType<typeof prototypesNow>): string[] {
  return [...prototypesNow()].flatMap(([prototype, properties]) => {
    const earlier = before.get(prototype) ?? new Map()
    return [...new Set([...properties.keys(), ...earlier.keys()])]
      .filter((key) => !isDeepStrictEqual(properties.get(key), earlier.get(key)))
      .map(String)
  })
}

test('what is added to a prototype is seen', () => {
  const before = prototypesNow()
  Object.assign(Object.prototype, { polluted: true })
  const seen = pollutionSince(before)
  Reflect.deleteProperty(Object.prototype, 'polluted')

  expect(seen).toEqual(['polluted'])
  expect(pollutionSince(before)).toEqual([])
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
        await verdictOf(() => store.queryCollection('todos', { where }))
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
