import { EventEmitter, once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { expect, test } from 'vitest'
import { noteRequest, tellWhenBroken } from '../../src/http/broken-answers.ts'

/** A server that answers so, and a connection to it. */
async function openConnection(listener: RequestListener): Promise<AsyncDisposable & { client: Socket }> {
  const server = createServer(listener).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1') // it listens on a port
  client.on('error', () => {})
  return {
    client,
    async [Symbol.asyncDispose]() {
      client.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

const REQUEST = 'GET / HTTP/1.1\r\nhost: x\r\n\r\n'

test.each([
  ['has been closed', (socket: Socket) => socket.destroy()],
  ['is being closed, because the client has', (socket: Socket) => socket.end()],
])('an answer on a connection that %s is told as unsent, once', async (_, close) => {
  const told: string[] = []
  const server = new EventEmitter()
  const closed = once(server, 'closed')
  await using connection = await openConnection((request, response) => {
    request.socket.on('close', () => setImmediate(() => server.emit('closed')))
    close(request.socket)
    tellWhenBroken(response, (answer) => told.push(answer))
    response.writeHead(200).end('lost')
  })

  connection.client.write(REQUEST)
  await closed

  expect(told).toEqual(['unsent'])
})

test('an answer is told as sent where its connection closes before another request has come on it', async () => {
  const told: string[] = []
  const server = new EventEmitter()
  const closed = once(server, 'closed')
  let count = 0
  await using connection = await openConnection((request, response) => {
    noteRequest(request.socket)
    if (count === 0) request.socket.on('close', () => setImmediate(() => server.emit('closed')))
    const name = `${++count}.`
    tellWhenBroken(response, (answer) => told.push(`${name} ${answer}`))
    response.writeHead(200).end('taken')
  })
  const { client } = connection

  client.write(REQUEST)
  await once(client, 'data')
  client.write(REQUEST)
  await once(client, 'data')
  client.destroy()
  await closed

  expect(told).toEqual(['2. sent'])
})
