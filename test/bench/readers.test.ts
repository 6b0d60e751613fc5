import { once } from 'node:events'
import { expect, test } from 'vitest'
import { type WebSocket, WebSocketServer } from 'ws'
import { Child } from '../../bench/harness/child.ts'
import type { ReadersCheck, ReadersOptions } from '../../bench/processes/readers.ts'

const NOTHING_RECEIVED: ReadersCheck = { received: 0 }

/** As much of a server as readers need: each is told that it has everything. */
class EmptyServer {
  readonly sockets: WebSocket[] = []
  readonly #server = new WebSocketServer({ host: '127.0.0.1', port: 0 })

  constructor() {
    this.#server.on('connection', (socket) => {
      this.sockets.push(socket)
      socket.once('message', () => sendBatch(socket, []))
    })
  }

  async url(): Promise<string> {
    if (this.#server.address() === null) await once(this.#server, 'listening')
    const { port } = this.#server.address() as { port: number }
    return `ws://127.0.0.1:${port}`
  }

  [Symbol.dispose](): void {
    for (const socket of this.sockets) socket.terminate()
    this.#server.close()
  }
}

function sendBatch(socket: WebSocket, ids: readonly string[]): void {
  const operations = ids.map((id) => `{"id":"${id}"}`).join()
  const text =
    `{"type":"operation-batch","messageId":"b","operations":[${operations}],"isFinal":true,"batchIndex":0,` +
    `"baseDeliverySequence":0,"maxDeliverySequence":${ids.length}}`
  socket.send(text)
}

/** From its source, which the benchmarks compile. */
function startReaders(): Child {
  return new Child('readers', { nodeArgs: ['--import', 'tsx'], hasLog: true })
}

async function connectTwo(readers: Child, server: EmptyServer): Promise<void> {
  await readers.call('connect', { url: await server.url(), count: 2, watermark: 0 } satisfies ReadersOptions)
}

test('readers that are still there and received nothing pass the check', async () => {
  using server = new EmptyServer()
  await using readers = startReaders()
  await connectTwo(readers, server)

  await readers.call('check', NOTHING_RECEIVED)
})

test('a reader that has received what it should not see fails the check', async () => {
  using server = new EmptyServer()
  await using readers = startReaders()
  await connectTwo(readers, server)
  const [first] = server.sockets
  if (first !== undefined) sendBatch(first, ['a'])

  await expect(readers.call('check', NOTHING_RECEIVED)).rejects.toThrow(
    '1 clients did not receive 0 operations: 1',
  )
})

test('a reader that the server has closed fails the next call, or the end of the run', async () => {
  using server = new EmptyServer()
  const asked = startReaders()
  await connectTwo(asked, server)
  const unasked = startReaders()
  await connectTwo(unasked, server)

  for (const socket of server.sockets) socket.close(1008, 'no more')
  await unasked.exited

  await expect(asked.call('check', NOTHING_RECEIVED)).rejects.toThrow('closed')
  await expect(unasked[Symbol.asyncDispose]()).rejects.toThrow('closed: 1008 no more')
  await expect(unasked.call('check', NOTHING_RECEIVED)).rejects.toThrow('closed: 1008 no more')
})
