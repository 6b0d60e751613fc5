import { expect, test } from 'vitest'
import type { Operation } from '../../src/core/operation.ts'
import { createSqliteServerStore } from '../../src/store/sqlite/sqlite-store.ts'
import { temporaryDirectory } from '../support/each-store.ts'
import { recordIdOf, withId } from '../support/operation-author.ts'
import { openRelayServer } from '../support/relay-server.ts'
import { settle, simulatedRuntime } from '../support/simulated-runtime.ts'
import { reportFigures } from '../support/trust.ts'
import { operation } from '../support/wire-operations.ts'

const HOUR = 3_600_000
const YEAR = 365 * 24 * HOUR
const SKEWS = [-10 * YEAR, -48 * HOUR, -HOUR, 0, 59_000, 61_000, HOUR, 48 * HOUR, 10 * YEAR]
/** Of the server's clock. */
const STEPS = [0, -HOUR, 24 * HOUR]

test('wrong clocks, of clients and of the server itself, wedge nobody and turn no order round', async () => {
  using directory = temporaryDirectory()
  const simulated = simulatedRuntime()
  let stepMs = 0
  const runtime = { ...simulated, now: () => simulated.now() + stepMs }
  const store = createSqliteServerStore({ filename: `${directory.path}/a.db`, durability: 'normal', runtime })
  const { connect } = openRelayServer({ store, runtime })
  const reader = await connect('reader')
  const clients = await Promise.all(SKEWS.map((_, i) => connect(`phone${i}`)))
  let made = 0

  const expectedIds: string[] = []
  for (const step of STEPS) {
    stepMs = step
    for (const [i, skew] of SKEWS.entries()) {
      made++
      const nodeId = `phone${i}`
      const write: Operation = withId(
        operation({
          nodeId,
          recordId: recordIdOf(`${made}`),
          timestamp: { wallTime: runtime.now() + skew, logical: 0, nodeId },
          sequenceNumber: made,
        }),
      )
      const client = clients[i]
      client?.receive({
        type: 'operation-batch',
        messageId: `${made}`,
        operations: [write],
        isFinal: true,
        batchIndex: 0,
      })
      await settle()
      const refusal = client?.sentOfType('operation-rejected').at(-1)
      if (skew > 60_000) expect(refusal).toMatchObject({ operationId: write.id, code: 'INVALID_TIMESTAMP' })
      else expectedIds.push(write.id)
      expect(client?.sentOfType('acknowledgment').at(-1)?.acknowledgedMessageId).toBe(`${made}`)
      expect(client?.closed).toBeNull()
    }
  }

  const batches = reader.sentOfType('operation-batch')
  const delivered = batches.flatMap(({ operations }) => operations.map((op) => (op as Operation).id))
  expect(delivered).toEqual(expectedIds)
  for (const [i, batch] of batches.entries()) {
    if (i > 0) expect(batch.baseDeliverySequence).toBe(batches[i - 1]?.maxDeliverySequence)
  }
  expect(reader.closed).toBeNull()
  const wedged = clients.filter(
    (client) => client.closed !== null || client.sentOfType('acknowledgment').length < STEPS.length,
  )
  reportFigures('clock skew', {
    'clocks of clients': SKEWS.length,
    'clocks of the server': STEPS.length,
    'delivered in order': delivered.length,
    'refused by name': made - delivered.length,
    'wedged sessions': wedged.length,
  })
  expect(wedged).toEqual([])
  await store.close()
})
