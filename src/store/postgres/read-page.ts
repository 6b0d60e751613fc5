import { chunkSizeFor, mergeSequences } from '../delivery/merge-sequences.ts'
import { MAX_ROWS_PER_PAGE, PageCollector, RARITY_SAMPLE } from '../delivery/page-collector.ts'
import type { IndexKey, Stream } from '../delivery/plan-streams.ts'
import type { DeliveryPage, DeliveryQuery, LogEntry } from '../store.ts'
import type { PostgresLog } from './postgres-log.ts'

/**
 * Reads one page of what a view shows: the counterpart of `delivery/read-page.ts`, with few round trips, and with
 * the bytes of each bounded by the database.
 *
 * @param end the end of the log: everything up to it can be read, whatever is committed meanwhile
 */
export async function readPage(
  log: PostgresLog,
  {
    end,
    streams,
    accepts,
  }: {
    end: number
    streams: readonly Stream[] | null
    accepts: (entry: LogEntry) => boolean
  },
  query: Pick<DeliveryQuery, 'after' | 'limit' | 'maxBytes'>,
): Promise<DeliveryPage> {
  const page = new PageCollector<LogEntry>(query)
  if (query.after >= end) return page.toPage(end)
  const keys = streams && (await rarestKeys(log, streams, { after: query.after, end }))
  let budget = Math.max(MAX_ROWS_PER_PAGE, query.limit)
  while (!page.isFull && budget > 0 && page.scannedTo < end) {
    const range = {
      after: page.scannedTo,
      end,
      limit: Math.min(query.limit, budget),
      maxBytes: query.maxBytes,
    }
    const { entries, doneThrough } = await (keys ? readIndexed(log, keys, range) : readScanned(log, range))
    page.take(entries, accepts)
    page.skipTo(doneThrough)
    budget -= Math.max(1, entries.length)
  }
  return page.toPage(end)
}

interface Range {
  readonly after: number
  readonly end: number
  readonly limit: number
  readonly maxBytes: number
}

/** The next entries to examine. */
interface Chunk {
  readonly entries: readonly LogEntry[]
  /** Nothing is left up to here once they are examined; 0 where unknown. */
  readonly doneThrough: number
}

async function readScanned(log: PostgresLog, range: Range): Promise<Chunk> {
  const entries = await log.scanEntries(range)
  return { entries, doneThrough: entries.length === 0 ? range.end : 0 }
}

async function readIndexed(log: PostgresLog, keys: readonly IndexKey[], range: Range): Promise<Chunk> {
  const chunkSize = chunkSizeFor(range.limit, keys.length)
  const lists = await log.readSequences(keys, { ...range, limit: chunkSize })
  const { sequences, isEnd } = mergeSequences(lists, chunkSize)
  const wanted = sequences.slice(0, range.limit)
  const entries = await log.readEntries(wanted, range.maxBytes)
  if (isEnd && entries.length === sequences.length) return { entries, doneThrough: range.end }
  // Without entries: they were dropped after the index was read.
  return { entries, doneThrough: entries.length === 0 ? (wanted.at(-1) ?? 0) : 0 }
}

/** For each stream, the key with the fewest entries ahead, among those that all lead to it. */
async function rarestKeys(
  log: PostgresLog,
  streams: readonly Stream[],
  { after, end }: { after: number; end: number },
): Promise<IndexKey[]> {
  const rivals = streams.filter((stream) => stream.length > 1).flat()
  if (rivals.length === 0) return streams.map(([key]) => key)
  const lists = await log.readSequences(rivals, { after, end, limit: RARITY_SAMPLE })
  const counts = new Map(rivals.map((key, index) => [key, lists[index]?.length ?? 0]))
  const count = (key: IndexKey): number => counts.get(key) ?? 0
  return streams.map((stream) => stream.reduce((rarest, key) => (count(key) < count(rarest) ? key : rarest)))
}
