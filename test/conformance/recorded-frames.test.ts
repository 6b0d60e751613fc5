import { expect, test } from 'vitest'
import {
  DEFAULT_DECODE_LIMITS,
  decodeFrame,
  encodeDeliveryFrame,
  encodeFrame,
} from '../../src/protocol/codec.ts'
import type { OperationBatchMessage, SyncMessage } from '../../src/protocol/messages.ts'
import { operationToWireJson } from '../../src/protocol/parse-operation.ts'
import { recordedMessages } from '../support/recorded-frames.ts'

const messages = recordedMessages()
const fromClients = messages.filter(({ direction }) => direction === 'client->server')
const fromServers = messages.filter(({ direction }) => direction === 'server->client')

test.each(fromClients)('$session: a server reads $text', ({ text }) => {
  const received = decodeFrame({ isBinary: false, bytes: Buffer.from(text) }, DEFAULT_DECODE_LIMITS)

  if (received.type !== 'operation-batch') {
    expect(received).toEqual(JSON.parse(text))
    return
  }
  const operations = received.operations.map((each) => (each.ok ? each.operation : each.refusal))
  expect({ ...received, operations }).toEqual(JSON.parse(text))
  const sent = (JSON.parse(text) as OperationBatchMessage).operations
  expect(received.operations.map((each) => each.ok && each.wireJson)).toEqual(
    sent.map((each) => JSON.stringify(each)),
  )
})

test.each(fromServers)('$session: a server writes $text', ({ text }) => {
  const message = JSON.parse(text) as SyncMessage

  expect(textOf(encodeFrame(message, 'json').bytes)).toBe(text)
  if (message.type !== 'operation-batch') return
  const { type: _type, operations, ...header } = message
  const joined = encodeDeliveryFrame(header, operations.map(operationToWireJson), 'json')
  expect(JSON.parse(textOf(joined.bytes))).toEqual(message)
})

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('utf8')
}
