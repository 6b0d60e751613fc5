import { expect, test } from 'vitest'
import { MemoryServerStore } from '../../src/store/memory/memory-store.ts'
import { OperationAuthor, recordIdOf } from '../support/operation-author.ts'
import { startSocketServer } from '../support/socket-client.ts'

test('a client that is not read for a while, because it sends too much, is not taken for dead', async () => {
  await using server = await startSocketServer({
    store: new MemoryServerStore(),
    maxOpsPerMinute: 600,
    limits: { idleTimeoutMs: 1000 }, // the last fifty are let in over five seconds
  })
  using client = await server.connect('phone')
  const author = new OperationAuthor('phone')
  const text = 'x'.repeat(5000)
  for (let number = 0; number < 100; number++) {
    const operations = Array.from({ length: 10 }, (_, i) =>
      author.insert(recordIdOf(`${number} ${i}`), { text }),
    )
    client.send({ type: 'operation-batch', messageId: `${number}`, operations, isFinal: true, batchIndex: 0 })
  }

  await client.until(() => client.ofType('acknowledgment').length === 65)

  expect(client.isEnded).toBe(false)
  expect(client.ofType('acknowledgment')).toHaveLength(65)
}, 30_000)

test('a client that answers nothing is closed', async () => {
  await using server = await startSocketServer({
    store: new MemoryServerStore(),
    limits: { idleTimeoutMs: 200 },
  })
  using client = await server.connect('phone')

  client.socket.pause() // answers no ping

  await expect.poll(() => server.server.getConnectionCount()).toBe(0)
})
