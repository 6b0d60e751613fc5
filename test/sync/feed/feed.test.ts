import { expect, test } from 'vitest'
import { createView, type ScopeChanges } from '../../../src/core/view.ts'
import type { DeliveryPage, LogEntry } from '../../../src/store/store.ts'
import { Feed } from '../../../src/sync/feed/feed.ts'
import { Views } from '../../../src/sync/feed/views.ts'
import { collectGarbage } from '../../support/collect-garbage.ts'
import { settle, simulatedRuntime } from '../../support/simulated-runtime.ts'

const MEGABYTE = 1024 * 1024

function entryOf(deliverySequence: number, wireJson = '{}', scopeChanges: ScopeChanges = []): LogEntry {
  return {
    kind: 'operation',
    deliverySequence,
    collection: 'todos',
    scopeChanges,
    operationId: `op-${deliverySequence}`,
    nodeId: 'node',
    sequenceNumber: deliverySequence,
    recordId: 'record',
    wireJson,
  }
}

function entriesOf(first: number, last: number): LogEntry[] {
  return Array.from({ length: last - first + 1 }, (_, index) => entryOf(first + index))
}

/** The feed of a log that is read in pages of two, with what the test may do to it. */
function openFeed({ head = 0, maxBytes = MEGABYTE }: { head?: number; maxBytes?: number } = {}) {
  const log: LogEntry[] = []
  const published: number[] = []
  const failures: unknown[] = []
  const reads: number[] = []
  const state = {
    error: null as Error | null,
    held: null as Promise<void> | null,
    replaced: 0,
    /** Of the log, where it has no entries there. */
    end: 0,
    listener: (_entries: readonly LogEntry[]): void => {},
  }
  const readLog = async (after: number): Promise<DeliveryPage> => {
    reads.push(after)
    await state.held
    if (state.error !== null) throw state.error
    const rest = log.filter(({ deliverySequence }) => deliverySequence > after)
    const entries = rest.slice(0, 2)
    const isLast = rest.length <= 2
    return { entries, scannedTo: entries.at(-1)?.deliverySequence ?? Math.max(after, state.end), isLast }
  }
  const feed = new Feed(
    { readLog },
    {
      runtime: simulatedRuntime(),
      maxBytes,
      onEntries: (entries) => {
        published.push(...entries.map(({ deliverySequence }) => deliverySequence))
        state.listener(entries)
      },
      onFailed: (error) => failures.push(error),
      onReplaced: () => void state.replaced++,
    },
  )
  feed.start(head)
  return { feed, log, published, failures, reads, state }
}

test('passes on what follows the head at once, without reading the store', () => {
  const { feed, published, reads } = openFeed({ head: 4 })

  feed.publish(entriesOf(5, 6))
  feed.publish([])
  feed.publish(entriesOf(7, 7))

  expect(published).toEqual([5, 6, 7])
  expect(feed.head).toBe(7)
  expect(reads).toEqual([])
})

test('reads what another process has committed before what follows it', async () => {
  const { feed, log, published } = openFeed()
  feed.publish(entriesOf(1, 1))
  log.push(...entriesOf(1, 7))

  feed.publish(entriesOf(6, 7))
  expect(published).toEqual([1])
  await settle()

  expect(published).toEqual([1, 2, 3, 4, 5, 6, 7])
  expect(feed.head).toBe(7)
})

test('what is committed while it reads comes after what it reads, and once', async () => {
  const { feed, log, published, state } = openFeed()
  let proceed = (): void => {}
  state.held = new Promise((resolve) => {
    proceed = resolve
  })
  log.push(...entriesOf(1, 3))
  void feed.refill()

  log.push(...entriesOf(4, 5))
  feed.publish(entriesOf(4, 5))
  state.held = null
  proceed()
  await settle()

  expect(published).toEqual([1, 2, 3, 4, 5])
})

test('the event loop turns between pages, and what is committed with a turn comes after them', async () => {
  const { feed, log, published, state } = openFeed()
  log.push(...entriesOf(1, 7))
  let turns = 0
  const pages: { readonly turn: number; readonly entries: readonly number[] }[] = []
  state.listener = (entries) => {
    pages.push({ turn: turns, entries: entries.map(({ deliverySequence }) => deliverySequence) })
  }
  const refilled = feed.refill()
  setImmediate(() => {
    log.push(...entriesOf(8, 8))
    feed.publish(entriesOf(8, 8))
  })
  const count = (): void => {
    turns++
    if (published.length < 8) setImmediate(count)
  }
  setImmediate(count)
  await refilled
  await settle()

  expect(pages.map(({ entries }) => entries)).toEqual([
    [1, 2],
    [3, 4],
    [5, 6],
    [7, 8],
  ])
  expect(new Set(pages.map(({ turn }) => turn)).size).toBe(pages.length)
})

test('tells that reading has failed, and reads on when asked to try again', async () => {
  const { feed, log, published, failures, reads, state } = openFeed()
  log.push(...entriesOf(1, 3))
  state.error = new Error('disk')
  await feed.refill()
  expect(failures).toEqual([state.error])
  expect(published).toEqual([])

  state.error = null
  feed.retry()
  await settle()
  expect(published).toEqual([1, 2, 3])
  feed.retry()
  await settle()

  expect(reads).toEqual([0, 0, 2]) // nothing had failed any more
})

test('tells that another log has taken the place of the one that it read', async () => {
  const { feed, log, published, state } = openFeed({ head: 4 })
  feed.publish(entriesOf(5, 5))
  expect(state.replaced).toBe(0)
  const restored = entryOf(1_000_000_010)
  log.push(restored)

  feed.publish([restored])
  await settle()

  expect(published).toEqual([5, 1_000_000_010])
  expect(state.replaced).toBe(1)
})

test('tells of it also where the other log is empty', async () => {
  const { feed, published, reads, state } = openFeed({ head: 5 })
  state.end = 1_000_000_010

  await feed.refill()
  feed.publish(entriesOf(1_000_000_011, 1_000_000_011))

  expect(state.replaced).toBe(1)
  expect(published).toEqual([1_000_000_011])
  expect(reads).toEqual([5])
})

test('the window holds the newest entries, as many as fit', () => {
  const { feed } = openFeed({ maxBytes: 1000 })
  const entries = Array.from({ length: 5000 }, (_, index) => entryOf(index + 1, 'x'.repeat(100)))

  for (const [index, entry] of entries.entries()) {
    feed.publish([entry])
    const kept = Math.min(index + 1, 10)
    if (feed.bytes !== kept * 100 || feed.evictedThrough !== index + 1 - kept) {
      expect([index, feed.bytes, feed.evictedThrough]).toEqual([index, kept * 100, index + 1 - kept])
    }
  }

  expect(feed.evictedBytes).toBe(4990 * 100)
  feed.publish([entryOf(5001, 'x'.repeat(1001))])
  expect(feed.bytes).toBe(0)
  expect(feed.evictedThrough).toBe(5001)
})

test('what an entry tells of scope fields counts: a small change of a record tells of long values', () => {
  const { feed } = openFeed({ maxBytes: 1000 })
  const long = 'x'.repeat(400)

  feed.publish([entryOf(1, '{}', [{ field: 'owner', after: long }])])
  expect(feed.bytes).toBe(402)
  feed.publish([entryOf(2, '{}', [{ field: 'owner', after: long, before: { key: long } }])])

  expect(feed.bytes).toBe(802)
  expect(feed.evictedThrough).toBe(1)
})

test('what has left the window is let go, however large, and so it is by a view that shows it', async () => {
  const { feed, state } = openFeed()
  const views = new Views(feed, MEGABYTE)
  state.listener = (entries) => views.publish(entries)
  const reader = { takenThrough: 0, onViewAdvanced: () => {} } // as far behind as it may be
  views.acquire(createView(null), reader)
  const refs: WeakRef<LogEntry>[] = []
  for (let n = 1; n <= 60; n++) {
    const entry = entryOf(n, 'x'.repeat(256 * 1024))
    refs.push(new WeakRef(entry))
    feed.publish([entry])
    reader.takenThrough = feed.evictedThrough
  }

  await settle() // a WeakRef keeps what it was made of until the end of the turn
  collectGarbage()

  const alive = refs.filter((ref) => ref.deref() !== undefined).length
  expect(feed.bytes).toBe(MEGABYTE)
  expect(alive).toBeGreaterThanOrEqual(4)
  expect(alive).toBeLessThanOrEqual(4 + 4) // its window, and as much that the views let go of together
})

test('reads nothing more once it is stopped', async () => {
  const { feed, log, published, reads, state } = openFeed()
  log.push(...entriesOf(1, 7))
  state.listener = () => feed.stop()

  void feed.refill()
  void feed.refill() // as a commit does meanwhile
  await settle()
  await feed.refill()
  feed.publish(entriesOf(6, 7))
  await settle()

  expect(published).toEqual([1, 2])
  expect(reads).toEqual([0])
})

test('and tells of no failure then, as of a store that is closed', async () => {
  const { feed, failures, state } = openFeed()
  let proceed = (): void => {}
  state.held = new Promise((resolve) => {
    proceed = resolve
  })
  state.error = new Error('closed')
  const refilled = feed.refill()

  feed.stop()
  proceed()
  await refilled

  expect(failures).toEqual([])
})
