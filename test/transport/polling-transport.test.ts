import { expect, test } from 'vitest'
import { PollingTransport } from '../../src/transport/polling-transport.ts'
import { simulatedRuntime } from '../support/simulated-runtime.ts'

test('counts what the messages that nobody has fetched take beside their bytes', async () => {
  const transport = new PollingTransport(simulatedRuntime(), undefined)
  const frame = { isBinary: false, bytes: new Uint8Array(200) }
  expect(transport.bufferedBytes).toBe(0)

  for (let count = 0; count < 1000; count++) transport.sendFrame(frame, false)
  expect(transport.bufferedBytes).toBe(1_200_000)

  const taken = await transport.take(0, undefined)
  expect(transport.bufferedBytes).toBe(1_198_800)
  transport.onBroken(transport.polls, taken === 'not-modified' ? null : taken)
  expect(transport.bufferedBytes).toBe(1_200_000)
  transport.sendFrame(frame, true)
  transport.close()
  expect(transport.bufferedBytes).toBe(1200)
  transport.disconnect()
  expect(transport.bufferedBytes).toBe(0)
})
