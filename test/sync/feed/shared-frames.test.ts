import { expect, test } from 'vitest'
import { createView } from '../../../src/core/view.ts'
import type { Frame } from '../../../src/protocol/frame.ts'
import { MemoryServerStore } from '../../../src/store/memory/memory-store.ts'
import type { LogEntry } from '../../../src/store/store.ts'
import { DeliveryStream } from '../../../src/sync/delivery/delivery-stream.ts'
import { PageTurns } from '../../../src/sync/delivery/page-turns.ts'
import { FrameBudget, SharedFrames } from '../../../src/sync/feed/shared-frames.ts'
import { Views } from '../../../src/sync/feed/views.ts'
import { settle, simulatedRuntime } from '../../support/simulated-runtime.ts'

const MEGABYTE = 1024 * 1024

function frameOf(bytes: number): Frame {
  return { isBinary: false, bytes: new Uint8Array(bytes) }
}

test('all views together keep 16 MB, and let go of what was made first', () => {
  const budget = new FrameBudget()
  const views = Array.from({ length: 40 }, () => new SharedFrames(budget))

  for (const [index, frames] of views.entries()) frames.keep(`${index}`, frameOf(MEGABYTE / 2))

  expect(budget.bytes).toBe(16 * MEGABYTE)
  const kept = views.map((frames, index) => frames.get(`${index}`) !== undefined)
  expect(kept).toEqual(views.map((_, index) => index >= 8))
})

test('a view keeps so many, and gives back what they take when it advances', () => {
  const budget = new FrameBudget()
  const [frames, others] = [new SharedFrames(budget), new SharedFrames(budget)]
  others.keep('a', frameOf(10))
  for (let n = 0; n < 100; n++) frames.keep(`${n}`, frameOf(1))
  frames.keep('0', frameOf(1))
  expect(budget.bytes).toBe(10 + 64)

  frames.clear()

  expect(budget.bytes).toBe(10)
  expect(frames.get('0')).toBeUndefined()
  frames.keep('0', frameOf(5))
  expect(frames.get('0')?.bytes).toHaveLength(5)
  expect(budget.bytes).toBe(15)
})

/** Views that are given entries, and sessions that are sent them. */
function openViews() {
  const feed = { head: 0, evictedThrough: 0, evictedBytes: 0 }
  const views = new Views(feed, 1e6)
  const store = new MemoryServerStore({ nodeId: 'server' })
  const join = async (nodeId: string) => {
    const sent: Frame[] = []
    const reader = { takenThrough: 0, onViewAdvanced: () => stream?.pump() }
    const view = views.acquire(createView(null), reader)
    const target = {
      sendDelivery: (frame: Frame) => void sent.push(frame),
      canSend: () => true,
      onCaughtUp() {},
      onDeliveryFailed(error: unknown) {
        throw error
      },
      format: 'json' as const,
      mayLoseMessages: false,
    }
    const position = { from: feed.head, ownSequence: 0, initialEnd: feed.head, batchSize: 10 }
    const runtime = simulatedRuntime()
    const pageTurns = new PageTurns(runtime)
    const options = { store, runtime, view, feed, pageTurns, nodeId, schemaVersion: 1, ...position }
    const stream: DeliveryStream | null = new DeliveryStream(target, options)
    stream.pump()
    await settle()
    sent.length = 0
    return { sent, leave: () => views.release(view, reader) }
  }
  const publish = (): void => {
    feed.head++
    views.publish([entryOf(feed.head)])
  }
  return { views, join, publish }
}

function entryOf(deliverySequence: number): LogEntry {
  return {
    kind: 'operation',
    deliverySequence,
    collection: 'todos',
    scopeChanges: [],
    operationId: `op-${deliverySequence}`,
    nodeId: 'writer',
    sequenceNumber: deliverySequence,
    recordId: 'record',
    wireJson: '{}',
  }
}

test('a view with one session keeps no frames: there is nobody to share them with', async () => {
  const { views, join, publish } = openViews()
  const alone = await join('alone')

  publish()
  expect(alone.sent).toHaveLength(1)
  expect(views.frameBytes).toBe(0)

  const other = await join('other')
  publish()
  expect(other.sent[0]).toBe(alone.sent[1])
  expect(views.frameBytes).toBeGreaterThan(0)
  other.leave()
  expect(views.frameBytes).toBe(0)
})
