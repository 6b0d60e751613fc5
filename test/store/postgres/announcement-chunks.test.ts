import fc from 'fast-check'
import { expect, test } from 'vitest'
import { chunkPayload, PayloadAssembler } from '../../../src/store/postgres/announcement-chunks.ts'

test('what is cut into notifications comes out as it was, whatever text it is', () => {
  const text = fc.string({ unit: 'binary', maxLength: 12_000 })
  fc.assert(
    fc.property(text, (payload) => {
      const assembler = new PayloadAssembler()
      const chunks = chunkPayload('server 1', 'topic', payload)
      const results = chunks.map((chunk) => assembler.add(chunk))

      expect(Math.max(...chunks.map((chunk) => Buffer.byteLength(chunk)))).toBeLessThan(8000)
      expect(results.at(-1)).toEqual({ serverId: 'server', topic: 'topic', payload })
      expect(results.slice(0, -1).every((result) => result === null)).toBe(true)
    }),
    { numRuns: 50 },
  )
})

test('a message that lost a part is dropped, and the next one is not', () => {
  const assembler = new PayloadAssembler()
  const [first, , third] = chunkPayload('s 1', 't', 'x'.repeat(20_000))

  expect(assembler.add(first ?? '')).toBeNull()
  expect(assembler.add(third ?? '')).toBeNull()
  expect(assembler.add(chunkPayload('s 2', 't', 'whole')[0] ?? '')).toEqual({
    serverId: 's',
    topic: 't',
    payload: 'whole',
  })
})

test('messages of two servers do not mix', () => {
  const assembler = new PayloadAssembler()
  const a = chunkPayload('a 1', 't', 'a'.repeat(20_000))
  const b = chunkPayload('b 1', 't', 'b'.repeat(20_000))

  const results = a.flatMap((chunk, index) => [assembler.add(chunk), assembler.add(b[index] ?? '')])

  expect(results.filter((result) => result !== null).map(({ payload }) => payload[0])).toEqual(['a', 'b'])
})

test.each(['', 'x', 's 1 1 1 t', 's one 1 1 t\nx', 's 1 -1 1 t\nx', 's 1 1 1 \nx'])(
  '%j is no announcement',
  (text) => {
    expect(() => new PayloadAssembler().add(text)).toThrow('is not part of an announcement')
  },
)

test('what never ends is dropped once there is no room for it, and what comes meanwhile arrives', () => {
  const assembler = new PayloadAssembler()
  const [first = ''] = chunkPayload('ends 1', 't', 'x'.repeat(14_000))
  const part = 'y'.repeat(7600)
  const messages = chunkPayload('late 1', 't', 'z'.repeat(14_000))

  assembler.add(first)
  for (let count = 0; count * part.length < 80 * 1024 * 1024; count++) {
    assembler.add(`endless${count % 3} 1 ${Math.floor(count / 3) + 1} 1000000 t\n${part}`)
  }

  expect(assembler.add(chunkPayload('ends 1', 't', 'x'.repeat(14_000))[1] ?? '')).toBeNull()
  expect(messages.map((chunk) => assembler.add(chunk))).toMatchObject([null, { serverId: 'late' }])
})
