import { expect, test } from 'vitest'
import {
  createPostgresServerStore,
  type PostgresServerStore,
} from '../../../src/store/postgres/postgres-store.ts'
import { announceAs } from '../../support/cluster-members.ts'
import { loseAfter } from '../../support/lost-end.ts'
import { OperationAuthor, recordIdOf, requestOf } from '../../support/operation-author.ts'
import { openTestDatabase, type TestDatabase } from '../../support/postgres.ts'

const NEVER = 86_400_000
const WAIT = { timeout: 20_000, interval: 20 }

async function openStore(database: TestDatabase, pollIntervalMs: number, readOnly = false) {
  const { connectionString } = database
  return createPostgresServerStore({ connectionString, pollIntervalMs, readOnly })
}

/** What a listener of the store is told, from when it hears announcements. */
async function listenTo(store: PostgresServerStore, database: TestDatabase): Promise<(number | undefined)[]> {
  let isHeard = false
  store.cluster.subscribe('heard', () => {
    isHeard = true
  })
  await expect
    .poll(async () => {
      await announceAs(database, 'x', 'heard', '')
      return isHeard
    }, WAIT)
    .toBe(true)
  const told: (number | undefined)[] = []
  store.onCommit((deliverySequence) => told.push(deliverySequence))
  return told
}

let written = 0

async function write(store: PostgresServerStore): Promise<void> {
  const author = new OperationAuthor(`a${++written}`)
  await store.append([requestOf(author.insert(recordIdOf(`r${written}`), { title: '' }))])
}

test('an announcement of a commit that is not in the log keeps no other from being told', async () => {
  await using database = await openTestDatabase()
  const [writer, reader] = [await openStore(database, NEVER), await openStore(database, NEVER)]
  const told = await listenTo(reader, database)

  await announceAs(database, 'x', 'commit', '900000000000000')
  await expect.poll(() => told.length, WAIT).toBe(1)
  await write(writer)
  await expect.poll(() => told.length, WAIT).toBe(2)
  await announceAs(database, 'x', 'commit', '2') // as of a server that was lost with its primary
  await expect.poll(() => told.length, WAIT).toBe(3)
  await write(writer)
  await expect.poll(() => told.length, WAIT).toBe(4)

  expect(told).toEqual([900_000_000_000_000, 1, 2, 2])
  await Promise.all([writer.close(), reader.close()])
})

test('nor from being found by asking, and no server announces it further', async () => {
  await using database = await openTestDatabase()
  const [alone, reader] = [await openStore(database, NEVER), await openStore(database, 20)]
  const told = await listenTo(reader, database)
  const announced: string[] = []
  alone.cluster.subscribe('commit', (payload) => announced.push(payload))
  alone.cluster.onMembership(() => {}) // a server that is alone announces nothing
  await expect.poll(() => alone.cluster.isAlone, WAIT).toBe(true)

  await announceAs(database, 'x', 'commit', '900000000000000')
  await expect.poll(() => told.length, WAIT).toBe(1)
  await write(alone)
  await expect.poll(() => told.at(-1), WAIT).toBe(1)
  await write(reader)
  await expect.poll(() => announced.at(-1), WAIT).toBe('2')

  expect(told).toEqual([900_000_000_000_000, 1, 2])
  expect(announced).toEqual(['900000000000000', '2'])
  await Promise.all([alone.close(), reader.close()])
})

test('what is written in the place of a lost end is told to who reads only', async () => {
  await using database = await openTestDatabase()
  const writer = await openStore(database, NEVER)
  await write(writer)
  await write(writer)
  const reader = await openStore(database, 20, true)
  const told: (number | undefined)[] = []
  reader.onCommit((deliverySequence) => told.push(deliverySequence))
  await expect.poll(() => told, WAIT).toEqual([2])
  await writer.close()

  await expect
    .poll(async () => {
      await loseAfter(database, 1) // seen by the reader, or not yet
      const other = await openStore(database, NEVER)
      await write(other)
      await other.close()
      return told.length
    }, WAIT)
    .toBeGreaterThan(1)

  expect(new Set(told)).toEqual(new Set([2]))
  await reader.close()
})
