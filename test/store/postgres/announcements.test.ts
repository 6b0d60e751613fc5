import { expect, test } from 'vitest'
import { systemRuntime } from '../../../src/core/system-runtime.ts'
import { Announcements } from '../../../src/store/postgres/announcements.ts'
import { PostgresDatabase } from '../../../src/store/postgres/database.ts'
import { openTestDatabase } from '../../support/postgres.ts'
import { recordingLogger } from '../../support/tokens.ts'

const MIB = 1024 * 1024
const WAIT = { timeout: 30_000, interval: 20 }

/** Two servers; `here` does not send before it is started, as when the database is slow. */
async function openPair() {
  const database = await openTestDatabase()
  const runtime = systemRuntime()
  const logger = recordingLogger()
  const { connectionString } = database
  const open = (serverId: string) => {
    const db = new PostgresDatabase({ connectionString }, runtime)
    return { db, announcements: new Announcements(db, { serverId, runtime, logger }) }
  }
  const [here, there] = [open('here'), open('there')]
  there.announcements.start()
  await expect.poll(() => there.announcements.isListening, WAIT).toBe(true)
  const heard: string[] = []
  for (const topic of ['typed', 'content', 'state', 'notice']) {
    there.announcements.subscribe(topic, (payload) => heard.push(`${topic} ${payload.length}`))
  }
  return {
    here: here.announcements,
    heard,
    logger,
    async [Symbol.asyncDispose]() {
      for (const { announcements, db } of [here, there]) {
        await announcements.stop()
        await db.close()
      }
      await database[Symbol.asyncDispose]()
    },
  }
}

/** Gives each payload once. */
function sourceOf(...payloads: string[]): () => string | null {
  return () => payloads.shift() ?? null
}

test('what there is no room for is dropped as a whole, by topic, and never what a source gives', async () => {
  await using pair = await openPair()
  const { here, heard, logger } = pair

  const typed = Array.from({ length: 10 }, () => here.publish('typed', 'x'.repeat(1.5 * MIB)))
  const content = Array.from({ length: 2 }, () => here.publish('content', 'y'.repeat(12 * MIB)))
  const state = ['a'.repeat(300_000), 'b']
  here.publishFrom('state', () => state.shift() ?? null)
  here.publishFrom('notice', sourceOf('c', 'd'))
  state[0] = 'only the newest counts'
  here.start()
  await expect.poll(() => heard.filter((text) => text.startsWith('content')), WAIT).toHaveLength(1)

  expect(typed).toEqual([...Array(5).fill(true), ...Array(5).fill(false)])
  expect(content).toEqual([true, false])
  expect(heard).toEqual([
    'state 22',
    'notice 1',
    'state 1',
    'notice 1',
    ...Array(5).fill(`typed ${1.5 * MIB}`),
    `content ${12 * MIB}`,
  ])
  expect(logger.lines).toMatchObject([{ level: 'warn', fields: { topic: 'typed', announcements: 1 } }])
  expect(here.publish('content', 'there is room again')).toBe(true)
}, 60_000)

test('what comes while a long one is sent does not tear it, and is not torn', async () => {
  await using pair = await openPair()
  const { here, heard } = pair
  here.start()
  await expect.poll(() => here.isListening, WAIT).toBe(true)

  here.publish('content', 'x'.repeat(5 * MIB))
  here.publish('typed', 'y')
  here.publishFrom('state', sourceOf('z'.repeat(300_000)))
  await expect.poll(() => heard, WAIT).toHaveLength(3)

  expect(heard).toEqual([`content ${5 * MIB}`, 'state 300000', 'typed 1'])
}, 60_000)

test('a source that throws is given up, and the others are asked', async () => {
  await using pair = await openPair()
  const { here, heard, logger } = pair

  here.publishFrom('state', () => {
    throw new Error('thrown')
  })
  here.publishFrom('notice', sourceOf('c'))
  here.start()
  await expect.poll(() => heard, WAIT).toEqual(['notice 1'])

  expect(logger.lines).toMatchObject([
    { level: 'error', fields: { topic: 'state', err: { message: 'thrown' } } },
  ])
}, 60_000)
