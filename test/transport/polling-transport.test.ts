import { describe, expect, test } from 'vitest'
import { type PolledFrame, PollingTransport } from '../../src/transport/polling-transport.ts'
import { type SimulatedRuntime, simulatedRuntime } from '../support/simulated-runtime.ts'

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

describe('what had arrived when its connection broke', () => {
  /** Two messages, of which the first was taken away. */
  async function takenOne() {
    const runtime = simulatedRuntime()
    const transport = new PollingTransport(runtime, undefined)
    for (const byte of [1, 2]) transport.sendFrame({ isBinary: false, bytes: new Uint8Array([byte]) }, true)
    const first = framed(await transport.take(0, undefined))
    return { runtime, transport, first }
  }

  test('is not told again to a client that says that it has it, and what follows is', async () => {
    const { runtime, transport, first } = await takenOne()
    transport.onBroken(transport.polls, first)

    const next = await afterHandshakeWait(runtime, transport.take(5000, first.etag))

    expect(first.etag).toBe('W/"1"')
    expect([next.etag, ...next.frame.bytes]).toEqual(['W/"2"', 2])
  })

  test('nor to one whose next poll is here already', async () => {
    const { runtime, transport, first } = await takenOne()
    const second = framed(await transport.take(0, first.etag))
    const poll = transport.take(5000, second.etag)

    transport.onBroken(transport.polls - 1, second)
    transport.sendFrame({ isBinary: false, bytes: new Uint8Array([3]) }, true)

    const next = await afterHandshakeWait(runtime, poll)
    expect([next.etag, ...next.frame.bytes]).toEqual(['W/"3"', 3])
  })

  test('keeps its number, also where it may not be told any more', async () => {
    const { runtime, transport, first } = await takenOne()
    transport.onBroken(transport.polls, first)
    transport.withdraw()
    transport.onBroken(transport.polls, null)
    transport.sendFrame({ isBinary: false, bytes: new Uint8Array([3]) }, true)

    const next = await afterHandshakeWait(runtime, transport.take(5000, first.etag))

    expect([next.etag, ...next.frame.bytes]).toEqual(['W/"2"', 3])
  })
})

function framed(taken: PolledFrame | null | 'not-modified'): PolledFrame {
  if (taken === null || taken === 'not-modified') throw new Error('Nothing was taken')
  return taken
}

/** After a poll whose connection broke, the next one waits for a handshake. */
async function afterHandshakeWait(
  runtime: SimulatedRuntime,
  poll: ReturnType<PollingTransport['take']>,
): Promise<PolledFrame> {
  await runtime.advance(1000)
  return framed(await poll)
}
