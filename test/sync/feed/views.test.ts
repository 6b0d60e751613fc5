import { expect, test } from 'vitest'
import type { ScopeMap } from '../../../src/core/scope.ts'
import { createView } from '../../../src/core/view.ts'
import type { LogEntry } from '../../../src/store/store.ts'
import { Views } from '../../../src/sync/feed/views.ts'

function entryOf(
  deliverySequence: number,
  collection: string,
  values: { [field: string]: unknown },
): LogEntry {
  const scopeChanges = Object.entries(values).map(([field, value]) => ({
    field,
    after: JSON.stringify(value),
  }))
  return {
    kind: 'operation',
    deliverySequence,
    collection,
    scopeChanges,
    operationId: `op-${deliverySequence}`,
    nodeId: 'node',
    sequenceNumber: deliverySequence,
    recordId: 'record',
    wireJson: '{}',
  }
}

function openViews({ maxFeedBytes = 1_000_000 } = {}) {
  const feed = { head: 0, evictedThrough: 0, evictedBytes: 0 }
  const views = new Views(feed, maxFeedBytes)
  const open = (scope: ScopeMap | null) => {
    let wakes = 0
    const reader = { takenThrough: 0, onViewAdvanced: () => void wakes++ }
    const shared = views.acquire(createView(scope), reader)
    return {
      shared,
      reader,
      wakes: () => wakes,
      sequences: () => shared.entriesAfter(0, 100, 1e6).entries.map((entry) => entry.deliverySequence),
      release: () => views.release(shared, reader),
    }
  }
  return { feed, views, open }
}

test('an operation reaches the views whose scope it matches and wakes nobody else', () => {
  const { views, open } = openViews()
  const everything = open(null)
  const mine = open({ todos: { userId: 'u1' } })
  const theirs = open({ todos: { userId: 'u2' } })
  const allTodos = open({ todos: {} })
  const notes = open({ notes: {} })

  views.publish([entryOf(1, 'todos', { userId: 'u1' }), entryOf(2, 'notes', {})])

  expect(everything.sequences()).toEqual([1, 2])
  expect(mine.sequences()).toEqual([1])
  expect(allTodos.sequences()).toEqual([1])
  expect(notes.sequences()).toEqual([2])
  expect(theirs.sequences()).toEqual([])
  expect(theirs.wakes()).toBe(0)
  expect(everything.wakes()).toBe(1)
})

test('a value of another type does not match', () => {
  const { views, open } = openViews()
  const byNumber = open({ todos: { team: 1 } })

  views.publish([
    entryOf(1, 'todos', { team: '1' }),
    entryOf(2, 'todos', { team: true }),
    entryOf(3, 'todos', {}),
  ])

  expect(byNumber.sequences()).toEqual([])
})

test('what all readers of a view have taken is let go of', () => {
  const { views, open } = openViews()
  const quick = open(null)
  const slow = open(null)
  views.publish([entryOf(1, 'todos', {}), entryOf(2, 'todos', {})])

  quick.reader.takenThrough = 2
  slow.reader.takenThrough = 1
  views.publish([entryOf(3, 'todos', {})])

  expect(quick.sequences()).toEqual([2, 3])
  expect(quick.shared.covers(0)).toBe(false)
  expect(quick.shared.covers(1)).toBe(true)
})

test('frames of what all readers have taken are let go of when the window has lost it', () => {
  const { feed, views, open } = openViews()
  const [first, second] = [open({ todos: {} }), open({ todos: {} })]
  views.publish([entryOf(1, 'todos', {})])
  for (const { reader } of [first, second]) reader.takenThrough = 2
  views.publish([entryOf(2, 'todos', {})])
  first.shared.frames.keep('0', { isBinary: false, bytes: Buffer.from('{}') })
  expect(first.sequences()).toEqual([])

  feed.evictedThrough = 1
  views.trim()
  expect(views.frameBytes).toBe(2)
  feed.evictedThrough = 2
  views.trim()

  expect(views.frameBytes).toBe(0)
})

test('frames of what the window still holds stay, also of a view that has just been opened', () => {
  const { feed, views, open } = openViews()
  const [quick, slow] = [open({ todos: {} }), open({ todos: {} })]
  quick.reader.takenThrough = 1
  views.publish([entryOf(1, 'todos', {})])
  quick.shared.frames.keep('0', { isBinary: false, bytes: Buffer.from('{}') })

  views.trim()
  expect(views.frameBytes).toBe(2)
  expect(slow.sequences()).toEqual([1])

  feed.evictedThrough = 1
  views.trim()
  expect(views.frameBytes).toBe(0)
})

test('who is further behind than what is in memory keeps nothing there', () => {
  const { views, open } = openViews()
  const quick = open(null)
  quick.reader.takenThrough = 1
  views.publish([entryOf(1, 'todos', {})])

  open(null) // at 0, which is no longer here
  quick.reader.takenThrough = 2
  views.publish([entryOf(2, 'todos', {})])

  expect(quick.sequences()).toEqual([])
})

test('sessions of equal views share one, and it ends with the last of them', () => {
  const { views, open } = openViews()
  const first = open({ todos: { userId: 'u1' } })
  const second = open({ todos: { userId: 'u1' } })
  expect(second.shared).toBe(first.shared)

  first.release()
  expect(views.size).toBe(1)
  second.release()

  expect(views.size).toBe(0)
  views.publish([entryOf(1, 'todos', { userId: 'u1' })])
  expect(first.wakes() + second.wakes()).toBe(0)
})

test('knows which positions it can answer for', () => {
  const { feed, views, open } = openViews()
  feed.head = 10
  const late = open(null)
  late.reader.takenThrough = 10
  views.publish([entryOf(11, 'todos', {}), entryOf(12, 'todos', {})])
  feed.head = 12

  expect(late.shared.covers(9)).toBe(false)
  expect(late.shared.covers(10)).toBe(true)
  feed.evictedThrough = 11
  views.trim()

  expect(late.shared.covers(10)).toBe(false)
  expect(late.shared.entriesAfter(11, 10, 1e6).entries.map((entry) => entry.deliverySequence)).toEqual([12])
})

test.each([
  { maxFeedBytes: 50_000, kept: 50_000 },
  { maxFeedBytes: 100_000_000, kept: 4 * 1024 * 1024 },
])('of a window of $maxFeedBytes bytes, $kept beyond it stay with the views', ({ maxFeedBytes, kept }) => {
  const { feed, views, open } = openViews({ maxFeedBytes })
  const everything = open(null)
  views.publish([entryOf(1, 'todos', {}), entryOf(2, 'todos', {})])
  feed.head = 2
  feed.evictedThrough = 1

  feed.evictedBytes = kept - 1
  views.publish([])
  expect(everything.sequences()).toEqual([1, 2])

  feed.evictedBytes = kept
  views.publish([])
  expect(everything.sequences()).toEqual([2])
})
