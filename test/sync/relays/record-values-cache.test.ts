import { expect, test } from 'vitest'
import type { FieldValues } from '../../../src/core/operation.ts'
import type { ServerStore } from '../../../src/store/store.ts'
import { RecordValuesCache } from '../../../src/sync/relays/record-values-cache.ts'
import { simulatedRuntime } from '../../support/simulated-runtime.ts'

const MEGABYTE = 1024 * 1024

/** A cache of records whose values the test makes. */
function openCache(valuesOf: (recordId: string) => FieldValues) {
  const runtime = simulatedRuntime()
  const readRecordValues = async (_collection: string, ids: readonly string[]) =>
    new Map(ids.map((id) => [id, { values: valuesOf(id) }]))
  const cache = new RecordValuesCache(
    { readRecordValues } as unknown as Pick<ServerStore, 'readRecordValues'>,
    runtime,
  )
  const keys = (count: number) =>
    Array.from({ length: count }, (_, n) => ({ collection: 'todos', recordId: `record ${n}` }))
  return { cache, runtime, keys }
}

test('keeps the scalar values of a record for a second', async () => {
  const { cache, runtime, keys } = openCache(() => ({
    owner: 'ada',
    done: false,
    none: null,
    tags: ['a'],
    text: 'x'.repeat(1025),
  }))
  const [key = { collection: '', recordId: '' }] = keys(1)
  expect(cache.peek(key)).toBeUndefined()

  await cache.read([key])
  expect({ ...cache.peek(key) }).toEqual({ owner: 'ada', done: false, none: null })
  await runtime.advance(1001)

  expect(cache.peek(key)).toBeUndefined()
  expect(cache.bytes).toBe(0)
})

test('of a record with much in it the short values are kept, which scopes compare', async () => {
  const long = Object.fromEntries(Array.from({ length: 256 }, (_, n) => [`text ${n}`, 'x'.repeat(1024)]))
  const { cache, keys } = openCache(() => ({ ...long, owner: 'ada', public: true }))
  const [key = { collection: '', recordId: '' }] = keys(1)

  await cache.read([key])

  expect(cache.peek(key)).toMatchObject({ owner: 'ada', public: true })
  expect(cache.bytes).toBeGreaterThan(8 * 1024)
  expect(cache.bytes).toBeLessThan(17 * 1024)
})

test('all records together take 16 MB at most: the oldest are let go', async () => {
  const values = Object.fromEntries(Array.from({ length: 15 }, (_, n) => [`text ${n}`, 'x'.repeat(1000)]))
  const { cache, keys } = openCache(() => values)
  const all = keys(4000)

  for (const key of all) await cache.read([key])

  expect(cache.bytes).toBeLessThanOrEqual(16 * MEGABYTE)
  expect(cache.bytes).toBeGreaterThan(15 * MEGABYTE)
  const known = all.map((key) => cache.peek(key) !== undefined)
  const kept = known.filter(Boolean).length
  expect(known).toEqual(all.map((_, index) => index >= all.length - kept))
  await cache.read(all.slice(0, 100))
  expect(cache.bytes).toBeLessThanOrEqual(16 * MEGABYTE)
  cache.clear()
  expect(cache.bytes).toBe(0)
})
