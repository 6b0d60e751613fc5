import { expect, test } from 'vitest'
import { silentLogger } from '../../../src/core/logger.ts'
import { createProductionServer } from '../../../src/http/production-server.ts'
import { openDevice } from '../../support/device.ts'
import { describeEachStore } from '../../support/each-store.ts'
import { todoSchema } from '../../support/todo-schema.ts'

describeEachStore('what an operation brings whose value of a filtered field loses', (openStore) => {
  test.each([
    ['with a watermark', false],
    ['without one', true],
  ])('reaches devices %s, at once and from the start', async (_, isLegacy) => {
    await using store = await openStore({ schema: todoSchema })
    const syncOptions = { logger: silentLogger }
    const server = createProductionServer({ store, port: 0, host: '127.0.0.1', syncOptions })
    await using _stopped = { [Symbol.asyncDispose]: () => server.stop() }
    const url = `${(await server.start()).replace('http', 'ws')}/kora-sync`
    const options = { url, schema: todoSchema }
    const queries = [{ collection: 'todos', where: { done: false } }]
    let aheadMs = 0
    const now = () => Date.now() + aheadMs
    await using writer = await openDevice({ ...options, name: 'writer', now })
    await using late = await openDevice({ ...options, name: 'late' })
    await using reader = await openDevice({ ...options, name: 'reader', queries, isLegacy })
    const id = writer.insert('todos', { title: 't', userId: 'u1', done: false })
    await late.until(() => late.record('todos', id) !== null, 'the todo is here')
    late.goOffline()
    late.update('todos', id, { done: true, title: 'late' })
    aheadMs = 1000
    writer.update('todos', id, { done: true })
    writer.update('todos', id, { done: false })
    await writer.synced()
    late.goOnline()
    await late.synced()

    await reader.until(() => reader.record('todos', id)?.title === 'late', 'the title is here')
    await using fresh = await openDevice({ ...options, name: 'fresh', queries, isLegacy })
    await fresh.until(() => fresh.record('todos', id)?.title === 'late', 'the title is here, too')
    expect(await store.readRecordValues('todos', [id])).toMatchObject(
      new Map([[id, { values: { title: 'late', done: false } }]]),
    )
  })
})
