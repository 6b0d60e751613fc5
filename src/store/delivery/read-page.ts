import type { VersionVector } from '../../core/version-vector.ts'
import { isVisible, type View, type Visibility } from '../../core/view.ts'
import type { DeliveredEntry, DeliveryPage, DeliveryQuery, LogEntry } from '../store.ts'
import { chunkSizeFor, mergeSequences } from './merge-sequences.ts'
import { MAX_ROWS_PER_PAGE, PageCollector, RARITY_SAMPLE } from './page-collector.ts'
import type { IndexKey, Stream } from './plan-streams.ts'

/** An entry of which can be told who sees it. */
export type ReadEntry = DeliveredEntry & Visibility

/** What a page is read from: one moment of the log of a store that answers at once. */
export interface LogSource<Entry extends ReadEntry = LogEntry> {
  /** The highest delivery sequence. */
  readonly end: number
  /** Delivery sequences above `after` that stand under the key, ascending. */
  readSequences(key: IndexKey, after: number, limit: number): readonly number[]
  /** The entries of these delivery sequences, in the same order. */
  readEntries(sequences: readonly number[]): Entry[]
  /** The entries above `after`, ascending. */
  scanEntries(after: number, limit: number): Entry[]
}

/**
 * Reads one page of what a view sees, through the scope index where `streams` says so.
 *
 * The work of one page is bounded, visible or not: the page may come out short, or empty, without
 * being the last.
 */
export function readPage<Entry extends ReadEntry>(
  source: LogSource<Entry>,
  streams: readonly Stream[] | null,
  accepts: (entry: Entry) => boolean,
  query: Pick<DeliveryQuery, 'after' | 'limit' | 'maxBytes'>,
): DeliveryPage<Entry> {
  const page = new PageCollector<Entry>(query)
  const chosen = streams?.map((stream) => rarestKey(source, stream, query.after))
  const budget = Math.max(MAX_ROWS_PER_PAGE, query.limit)
  let looked = 0
  while (!page.isFull && looked < budget && page.scannedTo < source.end) {
    // Where all was visible so far, no more is read than there is room for.
    const wanted = page.length === looked ? page.room : Math.max(page.room, MIN_ROWS_AT_ONCE)
    const range = { after: page.scannedTo, limit: Math.min(wanted, MAX_ROWS_AT_ONCE, budget - looked) }
    const chunk = chosen ? readIndexed(source, chosen, range) : readScanned(source, range)
    page.take(chunk.entries, accepts)
    if (chunk.isEnd) page.skipTo(source.end)
    looked += Math.max(1, chunk.rowCount)
  }
  return page.toPage(source.end)
}

/** What a client without watermark may see and has not got: for `readPage`. */
export function isMissing(vector: VersionVector, view: View): (entry: ReadEntry) => boolean {
  return (entry) => entry.sequenceNumber > (vector.get(entry.nodeId) ?? 0) && isVisible(entry, view)
}

/** Rows are in memory before their bytes are counted: of the largest, these take some 25 MB. */
const MAX_ROWS_AT_ONCE = 100
/** Rows that are looked at even for a page that lacks but one entry: most may be invisible. */
const MIN_ROWS_AT_ONCE = 16

interface Range {
  readonly after: number
  readonly limit: number
}

/** The next entries to look at. */
interface Chunk<Entry> {
  readonly entries: readonly Entry[]
  /** What was looked for to find them. */
  readonly rowCount: number
  /** True when nothing comes behind them. */
  readonly isEnd: boolean
}

function readScanned<Entry extends ReadEntry>(
  source: LogSource<Entry>,
  { after, limit }: Range,
): Chunk<Entry> {
  const entries = source.scanEntries(after, limit)
  return { entries, rowCount: entries.length, isEnd: entries.length < limit }
}

function readIndexed<Entry extends ReadEntry>(
  source: LogSource<Entry>,
  keys: readonly IndexKey[],
  { after, limit }: Range,
): Chunk<Entry> {
  const chunkSize = chunkSizeFor(limit, keys.length)
  const lists = keys.map((key) => source.readSequences(key, after, chunkSize))
  const { sequences, isEnd } = mergeSequences(lists, chunkSize)
  const wanted = sequences.slice(0, limit)
  return {
    entries: source.readEntries(wanted),
    rowCount: wanted.length,
    isEnd: isEnd && wanted.length === sequences.length,
  }
}

/** The key with the fewest entries ahead, among those that all lead to the stream. */
function rarestKey(source: Pick<LogSource<never>, 'readSequences'>, stream: Stream, after: number): IndexKey {
  let [rarest] = stream
  let fewest = Number.POSITIVE_INFINITY
  if (stream.length === 1) return rarest
  for (const key of stream) {
    const count = source.readSequences(key, after, RARITY_SAMPLE).length
    if (count < fewest) {
      rarest = key
      fewest = count
    }
  }
  return rarest
}
