import { expect, test } from 'vitest'
import type { Operation } from '../../src/core/operation.ts'
import type { OperationBatchMessage } from '../../src/protocol/messages.ts'
import { createSqliteServerStore } from '../../src/store/sqlite/sqlite-store.ts'
import { temporaryDirectory } from '../support/each-store.ts'
import { recordIdOf, withId } from '../support/operation-author.ts'
import { openRelayServer } from '../support/relay-server.ts'
import { settle, simulatedRuntime } from '../support/simulated-runtime.ts'
import { reportFigures } from '../support/trust.ts'
import { operation } from '../support/wire-operations.ts'

const HOUR = 3_600_000
const YEAR = 365 * 24 * HOUR
// Neither rising nor falling: what is written at once must not come in the order of the clocks.
const SKEWS = [59_000, -10 * YEAR, 0, 10 * YEAR, -HOUR, 61_000, 48 * HOUR, -48 * HOUR, HOUR]
/** Of the server's clock. */
const STEPS = [0, -HOUR, 24 * HOUR]
const ACKNOWLEDGED_AFTER_SECONDS = 5
const MUTE_SECONDS = 40 // in which who acknowledges nothing is closed

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
  let closedMute = 0
  for (const step of STEPS) {
    const mute = await connect(`mute ${step}`) // acknowledges nothing, neither before the step nor after it
    stepMs = step // what was written last is on its way to everybody
    const writes = SKEWS.map((skew, i): Operation => {
      made++
      const nodeId = `phone${i}`
      return withId(
        operation({
          nodeId,
          recordId: recordIdOf(`${made}`),
          timestamp: { wallTime: runtime.now() + skew, logical: 0, nodeId },
          sequenceNumber: made,
        }),
      )
    })
    for (const [i, write] of writes.entries()) {
      const messageId = write.id
      clients[i]?.receive({
        type: 'operation-batch',
        messageId,
        operations: [write],
        isFinal: true,
        batchIndex: 0,
      })
    }
    await settle()
    for (const [i, write] of writes.entries()) {
      const refusal = clients[i]?.sentOfType('operation-rejected').at(-1)
      if ((SKEWS[i] ?? 0) > 60_000) {
        expect(refusal).toMatchObject({ operationId: write.id, code: 'INVALID_TIMESTAMP' })
      } else {
        expect(refusal).toBeUndefined()
        expectedIds.push(write.id)
      }
      expect(clients[i]?.sentOfType('acknowledgment').at(-1)?.acknowledgedMessageId).toBe(write.id)
    }
    for (let second = 0; second < MUTE_SECONDS; second += ACKNOWLEDGED_AFTER_SECONDS) {
      await simulated.advance(ACKNOWLEDGED_AFTER_SECONDS * 1000)
      for (const client of [reader, ...clients]) client.acknowledgeAll()
    }
    if (mute.closed !== null) closedMute++
  }
  const late = await connect('late')

  const batches = reader.sentOfType('operation-batch')
  const delivered = idsIn(batches)
  expect(delivered).toEqual(expectedIds)
  expect(idsIn(late.sentOfType('operation-batch'))).toEqual(expectedIds)
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
    'silent readers closed': closedMute,
  })
  expect(wedged).toEqual([])
  expect(closedMute).toBe(STEPS.length)
  await store.close()
})

function idsIn(batches: readonly OperationBatchMessage[]): string[] {
  return batches.flatMap(({ operations }) => operations.map(({ id }) => id))
}
