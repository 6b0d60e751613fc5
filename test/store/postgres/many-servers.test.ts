import { describe, expect, test, vi } from 'vitest'
import type { Operation } from '../../../src/core/operation.ts'
import { t } from '../../../src/core/schema/builders.ts'
import { defineSchema } from '../../../src/core/schema/define-schema.ts'
import { createView } from '../../../src/core/view.ts'
import { REVOKED_TOPIC } from '../../../src/store/cluster-bus.ts'
import type { PostgresServerStoreOptions } from '../../../src/store/postgres/options.ts'
import {
  createPostgresServerStore,
  type PostgresServerStore,
} from '../../../src/store/postgres/postgres-store.ts'
import { OperationAuthor, recordIdOf, requestOf } from '../../support/operation-author.ts'
import { openTestDatabase, type TestDatabase } from '../../support/postgres.ts'
import { joinWords, resolverSchema } from '../../support/resolver-schema.ts'
import { todoSchema } from '../../support/todo-schema.ts'

type Options = Partial<PostgresServerStoreOptions>

async function openServers(database: TestDatabase, count: number, options: Options = {}) {
  const { connectionString } = database
  const stores = await Promise.all(
    Array.from({ length: count }, () => createPostgresServerStore({ connectionString, ...options })),
  )
  return {
    stores: stores as [PostgresServerStore, PostgresServerStore, ...PostgresServerStore[]],
    async [Symbol.asyncDispose]() {
      await Promise.all(stores.map((store) => store.close()))
    },
  }
}

function batchesOf(operations: readonly Operation[], size: number): Operation[][] {
  const batches: Operation[][] = []
  for (let start = 0; start < operations.length; start += size) {
    batches.push(operations.slice(start, start + size))
  }
  return batches
}

async function statusesOf(store: PostgresServerStore, operations: readonly Operation[]): Promise<string[]> {
  const results = await store.append(operations.map((operation) => requestOf(operation)))
  return results.map(({ status }) => status)
}

describe('many servers on one database', () => {
  test('start at once on an empty database', async () => {
    await using database = await openTestDatabase()
    await using servers = await openServers(database, 5)

    await Promise.all(servers.stores.map((store) => store.setSchema(todoSchema)))

    const ids = new Set(servers.stores.map((store) => store.getNodeId()))
    expect(ids.size).toBe(1)
    const plans = await Promise.all(servers.stores.map((store) => store.planSchema(todoSchema)))
    expect(plans.map(({ isUpToDate }) => isUpToDate)).toEqual([true, true, true, true, true])
  })

  test('are told of a revocation at once, also by a process that ends right after it', async () => {
    await using database = await openTestDatabase()
    await using servers = await openServers(database, 1)
    const onRevoked = vi.fn()
    servers.stores[0].cluster.subscribe(REVOKED_TOPIC, onRevoked)

    await expect
      .poll(
        async () => {
          const { connectionString } = database
          const commandLine = await createPostgresServerStore({ connectionString })
          await commandLine.revoke({ kind: 'user', value: 'ada' }, Date.now())
          await commandLine.close()
          return onRevoked.mock.calls.length
        },
        { timeout: 20_000 }, // until the server listens, nobody hears it
      )
      .toBeGreaterThan(0)
  }, 30_000)

  test('store an operation once that is sent to all of them at the same time', async () => {
    await using database = await openTestDatabase()
    await using servers = await openServers(database, 4)
    const author = new OperationAuthor('a')
    const operations = Array.from({ length: 40 }, (_, index) =>
      author.insert(recordIdOf(`r${index}`), { title: `t${index}` }),
    )

    const outcomes = await Promise.all(
      servers.stores.flatMap((store) => batchesOf(operations, 10).map((batch) => statusesOf(store, batch))),
    )

    expect(outcomes.flat().filter((status) => status === 'applied')).toHaveLength(40)
    expect(await servers.stores[0].getOperationCount()).toBe(40)
    expect(await servers.stores[0].getMaxDeliverySequence()).toBe(40)
  })

  test('fold one record that all of them write as one server would', async () => {
    await using database = await openTestDatabase()
    await using servers = await openServers(database, 3)
    for (const store of servers.stores) await store.setSchema(todoSchema)
    const [first] = servers.stores
    await statusesOf(first, [new OperationAuthor('z').insert('r', { title: '', tags: [], userId: 'u' })])
    const authors = servers.stores.map((_, index) => new OperationAuthor(`n${index}`, 1_760_000_000_000))

    await Promise.all(
      servers.stores.map(async (store, index) => {
        for (let step = 0; step < 20; step++) {
          const title = `${index}-${step}`
          const operation = authors[index]?.update('r', { title }) as Operation
          await statusesOf(store, [operation])
        }
      }),
    )

    const before = await first.findRecord('todos', 'r')
    await first.rebuildCollections()
    expect(await first.findRecord('todos', 'r')).toEqual(before)
    expect(before?.title).toBe('2-19') // of equal clocks the node with the greatest name
    expect(await first.getOperationCount()).toBe(61)
  })

  test('do not lock each other out when they write the same records in other orders', async () => {
    await using database = await openTestDatabase()
    await using servers = await openServers(database, 2)
    for (const store of servers.stores) await store.setSchema(todoSchema)
    const names = Array.from({ length: 30 }, (_, index) => recordIdOf(`shared ${index}`))
    const writers = servers.stores.map((store, index) => ({
      store,
      author: new OperationAuthor(`n${index}`),
    }))

    const outcomes = await Promise.all(
      writers.flatMap(({ store, author }, index) =>
        Array.from({ length: 10 }, (_, round) => {
          const order = (index + round) % 2 === 0 ? names : [...names].reverse()
          return statusesOf(
            store,
            order.map((id) => author.insert(id, { title: `${round}`, userId: 'u' })),
          )
        }),
      ),
    )

    expect(new Set(outcomes.flat())).toEqual(new Set(['applied']))
    expect(await servers.stores[0].countCollection('todos')).toBe(30)
  })

  test('number commits so that a reader never misses one below what it has read', async () => {
    await using database = await openTestDatabase()
    await using servers = await openServers(database, 3)
    const total = 3 * 30 * 5
    const seen: number[] = []
    const [reader] = servers.stores

    const reading = (async () => {
      while (seen.length < total) {
        const page = await reader.readLog(seen.at(-1) ?? 0, 50, 1_000_000)
        seen.push(...page.entries.map(({ deliverySequence }) => deliverySequence))
      }
    })()
    await Promise.all(
      servers.stores.map(async (store, index) => {
        const author = new OperationAuthor(`n${index}`)
        for (let batch = 0; batch < 30; batch++) {
          const operations = Array.from({ length: 5 }, () =>
            author.insert(recordIdOf(`${index} ${seen.length} ${Math.random()}`), {}),
          )
          await statusesOf(store, operations)
        }
      }),
    )
    await reading

    expect(seen).toEqual(Array.from({ length: total }, (_, index) => index + 1))
  })

  test('tell each other of commits at once, and by asking where announcements are lost', async () => {
    await using database = await openTestDatabase()
    await using servers = await openServers(database, 2, { pollIntervalMs: 300 })
    const [writer, reader] = servers.stores
    const heard = vi.fn()
    reader.onCommit(heard)
    const author = new OperationAuthor('a')
    await expect.poll(() => listenersIn(database)).toBe(2)

    await statusesOf(writer, [author.insert('r1', {})])
    await expect.poll(() => heard.mock.calls.length, { timeout: 5000 }).toBeGreaterThan(0)

    // Whoever listens is gone, and may not come back for a while: the poll is the floor.
    await database.query(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'kora-server listen' AND datname = current_database()",
    )
    const before = heard.mock.calls.length
    await statusesOf(writer, [author.insert('r2', {})])
    await expect.poll(() => heard.mock.calls.length, { timeout: 5000 }).toBeGreaterThan(before)
    await expect.poll(() => listenersIn(database), { timeout: 10_000 }).toBe(2)
  })

  test('are listed while they run, each as the one that was asked', async () => {
    await using database = await openTestDatabase()
    await using servers = await openServers(database, 2)
    const [one, two] = servers.stores
    for (const store of [one, two]) store.cluster.onMembership(() => {})

    await expect.poll(async () => (await one.listServers()).length, { timeout: 5000 }).toBe(2)
    const listed = await one.listServers()
    await two.close()

    expect(listed.filter(({ isThis }) => isThis).map(({ id }) => id)).toEqual([one.cluster.serverId])
    expect(Math.abs((listed[0]?.seenAt ?? 0) - Date.now())).toBeLessThan(60_000)
    expect(await one.listServers()).toMatchObject([{ id: one.cluster.serverId, isThis: true }])
  })

  test('agree on the fields that records are found by, also those added while the others write', async () => {
    await using database = await openTestDatabase()
    await using servers = await openServers(database, 2)
    const [first, second] = servers.stores
    const author = new OperationAuthor('a')
    const insert = (name: string) =>
      author.insert(recordIdOf(name), { team: name.length % 2 === 0 ? 'even' : 'odd' })
    await statusesOf(first, ['a', 'bb', 'ccc'].map(insert))

    const writing = (async () => {
      for (let index = 0; index < 20; index++) await statusesOf(second, [insert('x'.repeat(index + 4))])
    })()
    expect(await first.trackScopeField('todos', 'team', { isGranted: true })).toBe(true)
    await writing

    const view = createView({ todos: { team: 'even' } })
    const page = await second.readDelivery({ after: 0, view, limit: 100, maxBytes: 1_000_000 })
    expect(page.entries).toHaveLength(11)
    expect(await first.readDelivery({ after: 0, view, limit: 100, maxBytes: 1_000_000 })).toEqual(page)
  })

  test('keep a unique field unique whichever server is asked', async () => {
    await using database = await openTestDatabase()
    await using servers = await openServers(database, 3)
    const schema = defineSchema({
      version: 1,
      collections: {
        todos: {
          fields: { email: t.string() },
          constraints: [{ type: 'unique', fields: ['email'], onConflict: 'first-write-wins' }],
        },
      },
    })
    for (const store of servers.stores) await store.setSchema(schema)

    await Promise.all(
      servers.stores.flatMap((store, index) =>
        Array.from({ length: 5 }, (_, round) => {
          const author = new OperationAuthor(`n${index}-${round}`)
          return statusesOf(store, [
            author.insert(recordIdOf(`${index} ${round}`), { email: `${round}@example.com` }),
          ])
        }),
      ),
    )

    expect(await servers.stores[0].countCollection('todos')).toBe(5)
  })
})

async function listenersIn(database: TestDatabase): Promise<number> {
  const [row] = await database.query(
    "SELECT count(*)::int AS count FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'kora-server listen'",
  )
  return row?.count as number
}

describe('a rolling update', () => {
  const earlier = defineSchema({
    version: 1,
    collections: { todos: { fields: { title: t.string(), userId: t.string() } } },
  })
  const later = defineSchema({
    version: 2,
    collections: {
      todos: {
        fields: { title: t.string(), userId: t.string(), rank: t.number().optional() },
        indexes: ['title'],
      },
      notes: { fields: { text: t.string() } },
    },
  })

  test('lets servers of both schema versions write the same tables', async () => {
    await using database = await openTestDatabase()
    await using servers = await openServers(database, 2)
    const [old, updated] = servers.stores
    await old.setSchema(earlier)
    const author = new OperationAuthor('a')
    await statusesOf(old, [author.insert('r1', { title: 'one', userId: 'u' })])

    await updated.setSchema(later)
    // What only the later version knows reaches its tables through the server of the earlier one too.
    await statusesOf(old, [
      author.update('r1', { rank: 7 }),
      author.insert('n1', { text: 'a note' }, { collection: 'notes' }),
    ])

    expect(await updated.findRecord('todos', 'r1')).toMatchObject({ title: 'one', rank: 7 })
    expect(await updated.findRecord('notes', 'n1')).toMatchObject({ text: 'a note' })
    expect(await old.findRecord('todos', 'r1')).toMatchObject({ title: 'one' })
  })

  test('lets a server of the earlier version keep the relations of the later one from its first write on', async () => {
    await using database = await openTestDatabase()
    await using servers = await openServers(database, 2)
    const [old, updated] = servers.stores
    const teams = { fields: { name: t.string() } }
    const tasks = { fields: { teamId: t.string() } }
    await old.setSchema(defineSchema({ version: 1, collections: { teams } }))
    await updated.setSchema(
      defineSchema({
        version: 2,
        collections: { teams, tasks },
        relations: {
          taskTeam: { from: 'tasks', to: 'teams', type: 'many-to-one', field: 'teamId', onDelete: 'cascade' },
        },
      }),
    )
    const author = new OperationAuthor('a')
    await statusesOf(updated, [
      author.insert('t1', { name: 'one' }, { collection: 'teams' }),
      author.insert('k1', { teamId: 't1' }, { collection: 'tasks' }),
    ])

    expect(await statusesOf(old, [author.delete('t1', { collection: 'teams' })])).toEqual(['applied'])

    expect(await updated.queryCollection('tasks')).toEqual([])
  })

  test('is not turned back by a server of the earlier version that starts again', async () => {
    await using database = await openTestDatabase()
    await using servers = await openServers(database, 2)
    const [old, updated] = servers.stores
    await updated.setSchema(later)
    updated.cluster.onMembership(() => {})
    await expect
      .poll(async () => (await database.query('SELECT schema_version FROM _kora_servers'))[0]?.schema_version)
      .toBe(2)

    await old.setSchema(earlier)

    expect((await updated.planSchema(later)).isUpToDate).toBe(true)
    expect(old.getSchema()?.version).toBe(1)
    await statusesOf(old, [new OperationAuthor('a').insert('r1', { title: 'one', userId: 'u', rank: 3 })])
    expect(await updated.findRecord('todos', 'r1')).toMatchObject({ rank: 3 })
    expect(await old.findRecord('todos', 'r1')).toMatchObject({ title: 'one' })
  })

  test('that is taken back leaves the servers of the earlier version with what they know of the later one', async () => {
    await using database = await openTestDatabase()
    await using servers = await openServers(database, 2)
    const [old, updated] = servers.stores
    const title = t.string()
    const fields = { title, old: t.string().optional() }
    const before = defineSchema({ version: 1, collections: { todos: { fields } } })
    const dropping = defineSchema({
      version: 2,
      collections: { todos: { fields: { title, pin: t.secret().optional() } } },
    })
    const known = {
      otherVersions: { 2: { todos: ['title', 'pin'] } },
      retired: { todos: { pin: { kind: 'secret' } } },
    }
    await old.setSchema(before)

    await updated.setSchema(dropping)
    await old.getMaxDeliverySequence() // as it asks for once a second
    const during = old.getSchema()
    await updated.close()
    await using restarted = await openServers(database, 1)
    await restarted.stores[0].setSchema(before)
    await old.getMaxDeliverySequence()

    expect(during).toMatchObject(known)
    expect(old.getSchema()).toBe(during) // what is made of it is made once
    expect(old.getSchema()).toEqual(restarted.stores[0].getSchema())
  })

  test('that is taken back before a server of the earlier version has noticed is known to it too', async () => {
    await using database = await openTestDatabase()
    await using servers = await openServers(database, 2)
    const [old, updated] = servers.stores
    await old.setSchema(later)
    await updated.setSchema(
      defineSchema({ ...later, version: 3, collections: { notes: { fields: { text: t.string() } } } }),
    )
    await updated.setSchema(later)

    await statusesOf(old, [new OperationAuthor('a').insert('r1', { title: 'one', userId: 'u' })])

    expect(old.getSchema()?.otherVersions).toEqual({ 3: { notes: ['text'] } })
  })

  test('leaves to the later servers what needs a resolver that has changed', async () => {
    await using database = await openTestDatabase()
    await using servers = await openServers(database, 2)
    const [old, updated] = servers.stores
    await old.setSchema(resolverSchema(joinWords, 1))
    const author = new OperationAuthor('a')
    await statusesOf(old, [author.insert('r', { title: 'a' }), author.update('r', { title: 'b' })])
    await updated.setSchema(resolverSchema((local, remote) => `${String(remote)} before ${String(local)}`, 2))
    const conflicting = author.update('r', { title: 'c' }, { previousData: { title: 'a' } })

    await expect(statusesOf(old, [conflicting])).rejects.toMatchObject({ code: 'RESOLVER_MISSING' })
    expect(await statusesOf(old, [author.update('r', { note: 'kept' })])).toEqual(['applied'])

    expect(await statusesOf(updated, [conflicting])).toEqual(['applied'])
    const record = await updated.findRecord('todos', 'r')
    expect(record).toMatchObject({ title: 'c before b before a', note: 'kept' })
    await updated.rebuildCollections()
    expect(await updated.findRecord('todos', 'r')).toEqual(record)
  })

  test('fills a table in the background while another server goes on writing', async () => {
    await using database = await openTestDatabase()
    await using servers = await openServers(database, 2)
    const [old, updated] = servers.stores
    await old.setSchema(earlier)
    const author = new OperationAuthor('a')
    const insert = (index: number) =>
      author.insert(recordIdOf(`r${index}`), { title: `t${index}`, userId: 'u', rank: index })
    await statusesOf(
      old,
      Array.from({ length: 900 }, (_, index) => insert(index)),
    )

    let next = 900
    let isDone = false
    const writing = (async () => {
      while (!isDone) await statusesOf(old, [insert(next++)])
    })()
    const steps: number[] = []
    await updated.setSchema(later, { onProgress: ({ recordsDone }) => steps.push(recordsDone) })
    isDone = true
    await writing

    expect(steps.length).toBeGreaterThan(3)
    const records = await updated.queryCollection('todos')
    expect(records).toHaveLength(next)
    expect(records.every(({ rank, title }) => title === `t${rank}`)).toBe(true)
  })
})
