import type { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { readBody } from '../../src/http/read-body.ts'

const KILOBYTE = 1024
const NODE_READS = 64 * KILOBYTE

function requestOf(chunks: Iterable<Buffer>): IncomingMessage {
  return Object.assign(Readable.from(chunks, { objectMode: false }), { headers: {} }) as IncomingMessage
}

const chunkSizes = fc.array(
  fc.oneof(
    fc.integer({ min: 1, max: 16 }),
    fc.integer({ min: 900, max: 1100 }),
    fc.constantFrom(32 * KILOBYTE - 1, 32 * KILOBYTE, 32 * KILOBYTE + 1, NODE_READS),
  ),
  { maxLength: 40 },
)

test('a body is what came, in chunks of any sizes', async () => {
  await fc.assert(
    fc.asyncProperty(chunkSizes, async (sizes) => {
      let last = 0
      const chunks = sizes.map((size) => Buffer.alloc(size, last++))

      const body = await readBody(requestOf(chunks), 10_000 * KILOBYTE)

      expect(body?.equals(Buffer.concat(chunks))).toBe(true)
    }),
    { numRuns: 50 },
  )
})

test('no byte above the limit is kept', async () => {
  const chunks = [Buffer.alloc(600), Buffer.alloc(401)]

  expect(await readBody(requestOf(chunks), 1000)).toBeNull()
  expect(await readBody(requestOf(chunks), 1001)).toHaveLength(1001)
})

test('small chunks do not keep what they are a part of', async () => {
  const CHUNKS = 2000
  const before = process.memoryUsage().arrayBuffers
  let most = before
  function* chunks(): Generator<Buffer> {
    for (let i = 0; i < CHUNKS; i++) yield Buffer.alloc(NODE_READS).subarray(0, 1)
  }
  const body = await readBody(requestOf(chunks()), CHUNKS, () => {
    most = Math.max(most, process.memoryUsage().arrayBuffers)
  })

  expect(body).toHaveLength(CHUNKS)
  expect(most - before).toBeLessThan((CHUNKS * NODE_READS) / 2) // all of them would be 125 MB
})
