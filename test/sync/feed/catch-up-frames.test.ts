import { expect, test } from 'vitest'
import { createView } from '../../../src/core/view.ts'
import type { Frame } from '../../../src/protocol/frame.ts'
import { MemoryServerStore } from '../../../src/store/memory/memory-store.ts'
import type { DeliveryPage, DeliveryQuery } from '../../../src/store/store.ts'
import { DeliveryStream } from '../../../src/sync/delivery/delivery-stream.ts'
import { PageTurns } from '../../../src/sync/delivery/page-turns.ts'
import { type CatchUpBatch, CatchUpFrames } from '../../../src/sync/feed/catch-up-frames.ts'
import { FrameBudget } from '../../../src/sync/feed/shared-frames.ts'
import { SharedView } from '../../../src/sync/feed/views.ts'
import { appendAll, OperationAuthor, recordIdOf } from '../../support/operation-author.ts'
import { settle, simulatedRuntime } from '../../support/simulated-runtime.ts'

const MB = 1024 * 1024

function framesOf(streams: number, budget = { bytes: 0 }): CatchUpFrames {
  const frames = new CatchUpFrames(budget)
  for (let stream = 0; stream < streams; stream++) frames.join()
  return frames
}

function batchOf(bytes: number): CatchUpBatch {
  return {
    frame: { isBinary: false, bytes: new Uint8Array(bytes) },
    max: 1,
    entryCount: 1,
    authors: new Map(),
  }
}

/** Adds batches of half a megabyte, named by number; of `found`, others have sent them as well. */
function addMany(frames: CatchUpFrames, count: number, found: readonly number[] = []): void {
  for (let index = 0; index < count; index++) {
    frames.add(`${index}`, batchOf(MB / 2))
    if (found.includes(index)) frames.notePassed(`${index}`)
  }
}

function isKept(frames: CatchUpFrames, index: number): boolean {
  return frames.get(`${index}`) !== undefined
}

test('a batch is kept until each stream has passed it, and no longer', () => {
  const budget = { bytes: 0 }
  const frames = framesOf(3, budget)
  addMany(frames, 1)

  frames.notePassed('0')
  expect(isKept(frames, 0)).toBe(true)
  frames.notePassed('0')
  expect(isKept(frames, 0)).toBe(false)
  expect(budget.bytes).toBe(0)
})

test('a stream that comes later is waited for, and what comes first by it is kept for the others', () => {
  const frames = framesOf(2)
  addMany(frames, 1)
  frames.join()

  frames.notePassed('0')
  expect(isKept(frames, 0)).toBe(true)
  frames.notePassed('0')
  expect(isKept(frames, 0)).toBe(false)
})

test('streams that had left before are not waited for', () => {
  const frames = framesOf(4)
  frames.leave()
  frames.leave()
  addMany(frames, 1)

  frames.notePassed('0')
  expect(isKept(frames, 0)).toBe(false)
})

test('a stream that has made the same batch has passed it', () => {
  const frames = framesOf(2)
  addMany(frames, 1)
  addMany(frames, 1)

  expect(isKept(frames, 0)).toBe(false)
})

test('a stream finds what another has read that is several megabytes ahead', () => {
  const frames = framesOf(2)
  addMany(frames, 16)

  expect(isKept(frames, 0)).toBe(true)
})

test('what is found by others is kept up to 8 MB, and what nobody comes by for up to 1 MB', () => {
  const budget = { bytes: 0 }
  const frames = framesOf(3, budget)
  const all = Array.from({ length: 40 }, (_, index) => index)
  addMany(frames, 40, all)
  expect(budget.bytes).toBe(8 * MB)
  expect([isKept(frames, 23), isKept(frames, 24)]).toEqual([false, true])

  for (let index = 40; index < 80; index++) frames.add(`${index}`, batchOf(MB / 2))
  expect(budget.bytes).toBe(MB)

  frames.notePassed('79')
  for (let index = 80; index < 90; index++) frames.add(`${index}`, batchOf(MB / 2))
  expect(budget.bytes).toBe(6 * MB)
})

test('all views together keep 16 MB', () => {
  const budget = { bytes: 0 }
  const views = Array.from({ length: 5 }, () => framesOf(2, budget))
  for (const frames of views) addMany(frames, 16)

  expect(budget.bytes).toBe(16 * MB)
})

test('nothing is kept for a stream that is alone', () => {
  const budget = { bytes: 0 }
  const frames = framesOf(2, budget)
  addMany(frames, 4)
  frames.leave()

  expect(budget.bytes).toBe(0)
  frames.add('later', batchOf(100))
  expect(frames.get('later')).toBeUndefined()
})

test('a stream that leaves is told from one whose read fails, where the others need not wait for one another', async () => {
  const frames = framesOf(3)
  const made = [
    frames.make('left', Promise.resolve(false)),
    frames.make('failed', Promise.reject(new Error())),
  ]
  const told = [frames.whenMade('left'), frames.whenMade('failed')]

  expect(await Promise.all(told)).toEqual([false, true])
  await Promise.allSettled(made)
})

/** Streams of one view that 50 operations are stored for, ten to a batch. */
async function openStreams(
  count: number,
  {
    pageTurns,
    canSend,
  }: { readonly pageTurns: PageTurns; readonly canSend: (sent: readonly Frame[]) => boolean },
) {
  const runtime = simulatedRuntime()
  const store = new CountedStore({ nodeId: 'server' })
  const author = new OperationAuthor('author')
  const inserts = Array.from({ length: 50 }, (_, n) => author.insert(recordIdOf(`${n}`), { n }))
  await appendAll(store, inserts)
  const budget = { bytes: 0 }
  const feed = { head: 50, evictedThrough: 50, evictedBytes: 0 }
  const budgets = { catchUp: budget, frames: new FrameBudget() }
  const view = new SharedView(createView(null), feed, { ...budgets, completeAbove: 50 })
  const sent: Frame[][] = Array.from({ length: count }, () => [])
  const streams = sent.map((frames, index) => {
    const target = {
      sendDelivery: (frame: Frame) => void frames.push(frame),
      canSend: () => canSend(frames),
      onCaughtUp() {},
      onDeliveryFailed(error: unknown) {
        throw error
      },
      format: 'json' as const,
      mayLoseMessages: false,
    }
    const position = { from: 0, ownSequence: 0, initialEnd: 50, batchSize: 10, schemaVersion: 1 }
    const log = { store, view, feed, pageTurns }
    return new DeliveryStream(target, { ...log, runtime, nodeId: `reader ${index}`, ...position })
  })
  return { streams, sent, budget, store }
}

/** A store that counts the pages that are read of it. */
class CountedStore extends MemoryServerStore {
  pages = 0

  override readDelivery(query: DeliveryQuery): Promise<DeliveryPage> {
    this.pages++
    return super.readDelivery(query)
  }
}

test('two streams share what they send, and it is let go once both have sent it', async () => {
  let most = 0
  const { streams, sent, budget } = await openStreams(2, {
    pageTurns: new PageTurns(simulatedRuntime()),
    canSend: (frames) => frames.length < most,
  })
  const send = async (stream: DeliveryStream | undefined, batches: number): Promise<void> => {
    most = batches
    stream?.pump()
    await settle()
  }

  await send(streams[0], 3)
  expect(budget.bytes).toBeGreaterThan(0)
  await send(streams[1], 3)

  expect(sent[1]).toHaveLength(3)
  expect(sent[1]?.map((frame, index) => frame === sent[0]?.[index])).toEqual([true, true, true])
  expect(budget.bytes).toBe(0)
})

test('where streams leave that were to read a batch for all, one of those who wait reads it', async () => {
  const turns: (() => void)[] = []
  const { streams, sent, store } = await openStreams(10, {
    pageTurns: new PageTurns({ defer: (begin) => void turns.push(begin) }),
    canSend: (frames) => frames.length < 1,
  })
  for (const stream of streams) stream.pump()
  await settle()

  for (const leaving of streams.slice(0, 3)) {
    leaving.stop()
    turns.shift()?.()
    await settle()
  }
  for (let turn = turns.shift(); turn !== undefined; turn = turns.shift()) {
    turn()
    await settle()
  }

  expect(sent.map((frames) => frames.length)).toEqual([0, 0, 0, 1, 1, 1, 1, 1, 1, 1])
  expect(store.pages).toBe(1)
})
