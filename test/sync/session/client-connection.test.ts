import { expect, test } from 'vitest'
import { DEFAULT_DECODE_LIMITS, encodeFrame } from '../../../src/protocol/codec.ts'
import type { AcknowledgmentMessage } from '../../../src/protocol/messages.ts'
import { ClientConnection, type ConnectionOwner } from '../../../src/sync/session/client-connection.ts'
import { MemoryTransport } from '../../support/memory-transport.ts'
import { settle } from '../../support/simulated-runtime.ts'

const ACKNOWLEDGMENT: AcknowledgmentMessage = {
  type: 'acknowledgment',
  messageId: 'a',
  acknowledgedMessageId: 'b',
  lastSequenceNumber: 0,
}

/** As an application's may, once its socket is gone. */
class ThrowingTransport extends MemoryTransport {
  override send(): void {
    throw new Error('sent')
  }
  admit(): void {
    throw new Error('admitted')
  }
  withdraw(): void {
    throw new Error('withdrawn')
  }
  pause(): void {
    throw new Error('paused')
  }
  resume(): void {
    throw new Error('resumed')
  }
  override close(): void {
    throw new Error('closed')
  }
}

/** As one that is written with async functions. */
class RejectingTransport extends MemoryTransport {
  override async send(): Promise<void> {
    throw new Error('sent')
  }
  async admit(): Promise<void> {
    throw new Error('admitted')
  }
  async withdraw(): Promise<void> {
    throw new Error('withdrawn')
  }
  async pause(): Promise<void> {
    throw new Error('paused')
  }
  async resume(): Promise<void> {
    throw new Error('resumed')
  }
  override async close(): Promise<void> {
    throw new Error('closed')
  }
}

test.each([
  ['throws', new ThrowingTransport()],
  ['rejects with', new RejectingTransport()],
])('what a transport %s is told its session, whatever it was asked for', async (_how, transport) => {
  const errors: string[] = []
  const owner: ConnectionOwner = { onTransportFailed: (error) => errors.push(String(error)) }
  const connection = new ClientConnection(owner, transport, 1000)

  connection.send(ACKNOWLEDGMENT)
  connection.sendFrame(encodeFrame(ACKNOWLEDGMENT, 'json'))
  connection.admit()
  connection.withdraw()
  connection.pause()
  connection.resume()
  connection.close(1000, '')
  await settle()

  expect(errors).toEqual(
    ['sent', 'sent', 'admitted', 'withdrawn', 'paused', 'resumed', 'closed'].map((what) => `Error: ${what}`),
  )
})

const gone = (): never => {
  throw new Error('gone')
}

test('of a transport that throws where it is read its session is told once, and it is read no more', () => {
  const errors: string[] = []
  const transport = new MemoryTransport()
  const connection = new ClientConnection(
    { onTransportFailed: (error) => errors.push(String(error)) },
    Object.defineProperties(transport, {
      bufferedBytes: { get: gone },
      takenBytes: { get: gone },
      mayLoseMessages: { get: gone },
      errorsAreFinal: { get: gone },
      hasAllMessages: { get: gone },
      remoteAddress: { get: gone },
      isConnected: { value: gone },
    }),
    1000,
  )

  expect(connection.remoteAddress).toBeUndefined()
  expect(errors).toEqual([]) // there is no session yet
  connection.listen({ onMessage() {}, onClose() {}, onError() {} })

  expect(connection).toMatchObject({ isConnected: false, mayLoseMessages: false, errorsAreFinal: false })
  expect(connection).toMatchObject({ hasAllMessages: false, bufferedBytes: undefined, takenBytes: undefined })
  expect(connection.backlog.bytes).toBe(0)
  expect(errors).toEqual(['Error: gone'])
})

test('where a connection comes from is read once', () => {
  const addresses = ['10.0.0.1', '10.0.0.2']
  const transport = Object.defineProperty(new MemoryTransport(), 'remoteAddress', {
    get: () => addresses.shift(),
  })
  const connection = new ClientConnection({ onTransportFailed() {} }, transport, 1000)

  expect([connection.remoteAddress, connection.remoteAddress]).toEqual(['10.0.0.1', '10.0.0.1'])
})

test('answers have the form of the newest frame, and that JSON was written is remembered', () => {
  const connection = new ClientConnection({ onTransportFailed() {} }, new MemoryTransport(), 1000)
  expect(connection).toMatchObject({ format: 'json', readsJson: false })

  connection.decode(encodeFrame(ACKNOWLEDGMENT, 'protobuf'), DEFAULT_DECODE_LIMITS)
  expect(connection).toMatchObject({ format: 'protobuf', readsJson: false })
  connection.decode(encodeFrame(ACKNOWLEDGMENT, 'json'), DEFAULT_DECODE_LIMITS)
  connection.decode(encodeFrame(ACKNOWLEDGMENT, 'protobuf'), DEFAULT_DECODE_LIMITS)

  expect(connection).toMatchObject({ format: 'protobuf', readsJson: true })
})
