import pg from 'pg'
import { expect, test } from 'vitest'
import { type Logger, silentLogger } from '../../../src/core/logger.ts'
import { t } from '../../../src/core/schema/builders.ts'
import { defineSchema } from '../../../src/core/schema/define-schema.ts'
import type { PostgresServerStoreOptions } from '../../../src/store/postgres/options.ts'
import { createPostgresServerStore } from '../../../src/store/postgres/postgres-store.ts'
import { OperationAuthor, requestOf } from '../../support/operation-author.ts'
import { openTestDatabase } from '../../support/postgres.ts'

const earlier = defineSchema({ version: 1, collections: { todos: { fields: { title: t.string() } } } })
const later = defineSchema({
  version: 2,
  collections: { todos: { fields: { title: t.string(), rank: t.number().optional() } } },
})

/** A server of each schema version, and somebody who reads a table that the later one changes. */
async function openBesideReader(options: Partial<PostgresServerStoreOptions>) {
  const database = await openTestDatabase()
  const { connectionString } = database
  const warnings: string[] = []
  const warn: Logger['warn'] = ({ reason }, message) => void warnings.push(`${message}: ${reason}`)
  // Gives up sooner than the other one would wait for a lock by default.
  const old = await createPostgresServerStore({ connectionString, lockTimeoutMs: 5000 })
  await old.setSchema(earlier)
  const updated = await createPostgresServerStore({
    connectionString,
    logger: { ...silentLogger, warn },
    ...options,
  })
  const reader = new pg.Client({ connectionString })
  await reader.connect()
  await reader.query('BEGIN; SELECT count(*) FROM todos')
  return {
    old,
    updated,
    reader,
    warnings,
    async [Symbol.asyncDispose]() {
      await Promise.all([reader.end(), old.close(), updated.close()])
      await database[Symbol.asyncDispose]()
    },
  }
}

const HELD_UP = 'waiting for transactions of others on the database: they use a table that the schema changes'

test('a change of tables waits for who reads them, and nobody waits behind it', async () => {
  await using servers = await openBesideReader({})
  const { old, updated, reader, warnings } = servers
  const author = new OperationAuthor('a')

  let isChanged = false
  const changing = updated.setSchema(later).then(() => {
    isChanged = true
  })
  changing.catch(() => {}) // met below
  for (let count = 0; count < 100 || !warnings.includes(HELD_UP); count++) {
    const [result] = await old.append([requestOf(author.insert(`r${count}`, { title: 'x' }))])
    expect(result?.status).toBe('applied')
  }
  expect(isChanged).toBe(false)
  await reader.query('COMMIT')
  await changing

  expect(warnings.filter((warning) => warning === HELD_UP)).toHaveLength(1)
  await old.append([requestOf(author.insert('last', { title: 'x', rank: 7 }))])
  expect(await updated.findRecord('todos', 'last')).toMatchObject({ rank: 7 })
}, 60_000)

test('a change of tables that somebody uses for too long is given up, and has changed nothing', async () => {
  await using servers = await openBesideReader({ lockTimeoutMs: 50 })
  const { old, updated, warnings } = servers

  await expect(updated.setSchema(later)).rejects.toMatchObject({
    code: 'STORE_UNAVAILABLE',
    message: expect.stringContaining('another session holds a lock on the tables'),
  })

  expect(warnings).toContain(HELD_UP)
  expect(await old.planSchema(earlier)).toMatchObject({ isUpToDate: true })
}, 60_000)
