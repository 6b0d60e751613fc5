import { expect, test } from 'vitest'
import { openRelayServer, RelayClient } from '../../support/relay-server.ts'
import { settle } from '../../support/simulated-runtime.ts'
import { recordingLogger } from '../../support/tokens.ts'

test('a schema version that is refused is logged with what the client has, and counted', async () => {
  const logger = recordingLogger()
  const supportedSchemaVersions = { min: 2, max: 3 }
  const { server, connect } = openRelayServer({ logger, schemaVersion: 3, supportedSchemaVersions })

  const phone = await connect('phone', { handshake: { schemaVersion: 1 } })

  expect(phone.sent).toMatchObject([{ type: 'handshake-response', accepted: false }])
  expect(logger.lines.filter(({ level }) => level !== 'debug')).toMatchObject([
    {
      level: 'info',
      message: 'schema version refused',
      fields: { code: 'SCHEMA_MISMATCH', detail: expect.stringContaining('client schema version 1') },
    },
  ])
  expect((await server.getStatus()).errorCount).toBe(1)
})

test('who reads none of its answers is logged and counted once', async () => {
  const logger = recordingLogger()
  const { server, connect } = openRelayServer({ logger, limits: { maxBufferedBytes: 1000 } })
  const client = new RelayClient()
  client.bufferedBytes = 100_000

  await connect('phone', { client })

  expect(client.closed?.code).toBe(4010)
  expect(logger.lines.filter(({ level }) => level !== 'debug')).toMatchObject([
    { level: 'warn', message: 'session ended by the server', fields: { code: 'SLOW_CONSUMER' } },
  ])
  expect((await server.getStatus()).errorCount).toBe(1)
})

test('so is who is told why, however much it has left unread', async () => {
  const logger = recordingLogger()
  const { server, connect } = openRelayServer({ logger, limits: { maxBufferedBytes: 1000 } })
  const client = await connect('phone')
  client.bufferedBytes = 100_000

  client.receive({ type: 'handshake', messageId: 'h', nodeId: 'phone', versionVector: {}, schemaVersion: 1 })
  await settle()

  expect(client.sent.at(-1)).toMatchObject({ type: 'error', code: 'DUPLICATE_HANDSHAKE' })
  expect((await server.getStatus()).errorCount).toBe(1)
})
