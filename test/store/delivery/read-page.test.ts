import { expect, test } from 'vitest'
import { type LogSource, type ReadEntry, readPage } from '../../../src/store/delivery/read-page.ts'

/** A log of so many entries, which notes how many are read at once. */
class CountedLog implements LogSource<ReadEntry> {
  readonly end: number
  readonly reads: number[] = []

  constructor(end: number) {
    this.end = end
  }

  scanEntries(after: number, limit: number): ReadEntry[] {
    const count = Math.min(limit, this.end - after)
    this.reads.push(count)
    return Array.from({ length: count }, (_, index) => entry(after + index + 1))
  }

  readEntries(sequences: readonly number[]): ReadEntry[] {
    this.reads.push(sequences.length)
    return sequences.map(entry)
  }

  readSequences(_key: unknown, after: number, limit: number): number[] {
    return Array.from({ length: Math.min(limit, this.end - after) }, (_, index) => after + index + 1)
  }
}

function entry(deliverySequence: number): ReadEntry {
  return {
    deliverySequence,
    kind: 'operation',
    nodeId: 'a',
    sequenceNumber: deliverySequence,
    collection: 'todos',
    wireJson: 'x'.repeat(1000),
    scopeChanges: [],
  }
}

const STREAMS = [[{ fieldId: 1, key: 'k' }]] as const
const everything = () => true

test.each([
  ['the log', null],
  ['an index', STREAMS],
])('of %s, a page is read a hundred entries at a time, and no more than it holds', (_what, streams) => {
  const log = new CountedLog(10_000)

  const page = readPage(log, streams, everything, { after: 0, limit: 501, maxBytes: 1e9 })

  expect(page.entries.map(({ deliverySequence }) => deliverySequence)).toEqual(
    Array.from({ length: 501 }, (_, index) => index + 1),
  )
  expect(page).toMatchObject({ scannedTo: 501, isLast: false })
  expect(Math.max(...log.reads)).toBe(100)
  expect(log.reads.reduce((sum, count) => sum + count, 0)).toBe(501)
})

test('where some are invisible, the last ones are not looked for one by one', () => {
  const log = new CountedLog(10_000)
  const isOdd = ({ deliverySequence }: ReadEntry) => deliverySequence % 2 === 1

  const page = readPage(log, null, isOdd, { after: 0, limit: 101, maxBytes: 1e9 })

  expect(page.entries).toHaveLength(101)
  expect(log.reads).toEqual([100, 51, 25, 16, 16])
})

test('no more is read once a page has its bytes', () => {
  const log = new CountedLog(10_000)

  const page = readPage(log, null, everything, { after: 0, limit: 501, maxBytes: 20_000 })

  expect(page.entries).toHaveLength(20)
  expect(log.reads).toEqual([100])
})

test('of a log that shows nothing, a page reads some thousands of entries', () => {
  const log = new CountedLog(10_000)

  const page = readPage(log, null, () => false, { after: 0, limit: 101, maxBytes: 1e9 })

  expect(page).toMatchObject({ entries: [], scannedTo: 4000, isLast: false })
})
