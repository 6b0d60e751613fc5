import { expect, test } from 'vitest'
import { LOG_EVENTS } from '../../src/core/log-events.ts'
import { childLogger, type LogFields, type Logger, logEvent, silentLogger } from '../../src/core/logger.ts'
import { openRelayServer } from '../support/relay-server.ts'
import { settle } from '../support/simulated-runtime.ts'

/** The methods that every logger has. */
function plainLogger(lines: { readonly fields: LogFields; readonly message: string }[]): Logger {
  const write = (fields: LogFields, message: string) => void lines.push({ fields, message })
  return { debug: write, info: write, warn: write, error: write }
}

test('the fields of a child of a child are given with each line, where the logger makes none', () => {
  const lines: { fields: LogFields; message: string }[] = []
  const logger = childLogger(childLogger(plainLogger(lines), { sessionId: 's', nodeId: 'n' }), {
    nodeId: 'm',
  })

  logEvent(logger, LOG_EVENTS.sessionFailed, { code: 'SLOW_CONSUMER' })
  logEvent(logger, LOG_EVENTS.batchCommitted, { operations: 1 })

  const { message } = LOG_EVENTS.sessionFailed
  expect(lines).toEqual([{ fields: { sessionId: 's', nodeId: 'm', code: 'SLOW_CONSUMER' }, message }])
})

/** Every line fails, the first and later ones. */
function failingLogger(fail: () => void): Logger {
  return { trace: fail, debug: fail, info: fail, warn: fail, error: fail }
}

const throwing = (): never => {
  throw new Error('the disk is full')
}

test.each([
  ['throws', failingLogger(throwing)],
  ['rejects', failingLogger(async () => throwing())],
  ['throws when it is to make a child', { ...silentLogger, child: throwing }],
])('a server whose logger %s serves all the same, starts and stops', async (_name, logger) => {
  const { connect, server } = openRelayServer({ logger, port: 0, host: '127.0.0.1' })

  await server.start()
  const client = await connect('phone')
  client.receive({ type: 'nonsense' })
  await settle()
  await server.stop()

  expect(client.sentOfType('handshake-response')).toHaveLength(1)
  expect(client.closed?.code).toBe(4002)
})

test.each([
  ['no child and no trace', plainLogger([])],
  ['the methods of console', { ...console, trace() {}, debug() {}, info() {}, warn() {}, error() {} }],
])('a server whose logger has %s lets clients in', async (_name, logger) => {
  const { connect } = openRelayServer({ logger })

  const client = await connect('phone')

  expect(client.sentOfType('handshake-response')).toHaveLength(1)
  expect(client.closed).toBeNull()
})
