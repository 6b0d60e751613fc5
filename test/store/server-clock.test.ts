import { join } from 'node:path'
import { expect, test } from 'vitest'
import { compareTimestamps } from '../../src/core/clock.ts'
import type { Operation, Timestamp } from '../../src/core/operation.ts'
import { SERVER_ITSELF } from '../../src/core/write-access.ts'
import { ServerClock } from '../../src/store/append/server-clock.ts'
import { createPostgresServerStore } from '../../src/store/postgres/postgres-store.ts'
import { createSqliteServerStore } from '../../src/store/sqlite/sqlite-store.ts'
import type { ServerStore } from '../../src/store/store.ts'
import { SERVER_NODE, temporaryDirectory } from '../support/each-store.ts'
import { openTestDatabase } from '../support/postgres.ts'

const START = 1_750_000_000_000
const at = (wallTime: number, logical = 0): Timestamp => ({ wallTime, logical, nodeId: 'client' })

test('the server stamps after what the record has seen, but follows no clock that is far ahead', () => {
  const clock = new ServerClock(SERVER_NODE, { now: () => START })

  expect(clock.stampAfter(null)).toEqual({ wallTime: START, logical: 0, nodeId: SERVER_NODE })
  expect(clock.stampAfter(at(START + 60_000))).toMatchObject({ wallTime: START + 60_000, logical: 1 })
  expect(clock.stampAfter(at(START + 86_400_000, 5))).toMatchObject({
    wallTime: START + 86_400_000,
    logical: 6,
  })
  expect(clock.stampAfter(at(START))).toMatchObject({ wallTime: START + 60_000, logical: 3 })
})

test('the server’s clock comes back when its own time was set back', () => {
  let now = START + 86_400_000
  const clock = new ServerClock(SERVER_NODE, { now: () => now })
  clock.stampAfter(null)

  now = START
  expect(clock.stampAfter(null)).toMatchObject({ wallTime: START, logical: 0 })
  expect(clock.stampAfter(at(START + 1))).toMatchObject({ wallTime: START + 1, logical: 1 })
})

test('the server’s clock never goes back over a restart (sqlite)', async () => {
  using directory = temporaryDirectory()
  await restart(() =>
    createSqliteServerStore({
      filename: join(directory.path, 'store.db'),
      nodeId: SERVER_NODE,
      durability: 'normal',
    }),
  )
})

test('the server’s clock never goes back over a restart (postgres)', async () => {
  await using database = await openTestDatabase()
  await restart(() =>
    createPostgresServerStore({ connectionString: database.connectionString, nodeId: SERVER_NODE }),
  )
})

async function restart(open: () => ServerStore | Promise<ServerStore>): Promise<void> {
  const insert = async (store: ServerStore, recordId: string): Promise<Timestamp> => {
    const write = {
      author: 'server',
      access: SERVER_ITSELF,
      type: 'insert',
      collection: 'todos',
      recordId,
      schemaVersion: 1,
    } as const
    const [result] = await store.append([{ ...write, data: { title: 'x' } }])
    const [entry] = result?.status === 'applied' ? result.entries : []
    return (JSON.parse(entry?.wireJson ?? '') as Operation).timestamp
  }
  const ahead = at(Date.now() + 50_000)
  const first = await open()
  await first.applyRemoteOperation({
    id: 'a'.repeat(64),
    nodeId: 'client',
    type: 'delete',
    collection: 'todos',
    recordId: 'r1',
    data: null,
    previousData: null,
    timestamp: ahead,
    sequenceNumber: 1,
    causalDeps: [],
    schemaVersion: 1,
  })
  const before = await insert(first, 'r1')
  await first.close()

  const second = await open()
  const after = await insert(second, 'r2')
  await second.close()

  expect(compareTimestamps(before, ahead)).toBeGreaterThan(0)
  expect(compareTimestamps(after, before)).toBeGreaterThan(0)
}
