import { describe, expect, test } from 'vitest'
import { canonicalJson } from '../../src/core/canonical-json.ts'
import { sortCausally } from '../../src/core/causal-order.ts'
import { compareTimestamps, parseTimestamp, serializeTimestamp } from '../../src/core/clock.ts'
import type { Operation, Timestamp } from '../../src/core/operation.ts'
import { checkOperationId, computeOperationId } from '../../src/core/operation-id.ts'
import { DeviceClock } from '../support/device/clock.ts'
import { loadVectors } from '../support/vectors.ts'

describe('canonical JSON', () => {
  const { cases } = loadVectors<{ cases: { name: string; input: unknown; canonical: string }[] }>(
    'canonical-json',
  )

  test.each(cases)('$name', ({ input, canonical }) => {
    expect(canonicalJson(input)).toBe(canonical)
  })
})

interface IdCase {
  name: string
  operation: Operation
  timestampSerialized: string
  canonical: string
  id: string
  recomputableFromJsonWire: boolean
  recomputableAfterBinaryDecode?: boolean
}

describe('operation ids', () => {
  const { cases } = loadVectors<{ cases: IdCase[] }>('operation-ids')

  test.each(cases)('$name', ({ operation, timestampSerialized, id }) => {
    expect(serializeTimestamp(operation.timestamp)).toBe(timestampSerialized)
    expect(computeOperationId(operation)).toBe(id)
  })

  test.each(cases)('$name, after it has travelled as JSON', (idCase) => {
    const { operation, id, recomputableFromJsonWire } = idCase
    const received = JSON.parse(JSON.stringify({ ...operation, id })) as Operation

    expect(computeOperationId(received) === id).toBe(
      recomputableFromJsonWire || idCase.recomputableAfterBinaryDecode === true, // bytes hash as the object JSON makes of them
    )
  })

  test('bytes in the wire form of old clients are verified, encrypted payloads are not', () => {
    const legacy = cases.find(({ name }) => name === 'raw-bytes-legacy') as IdCase
    const encrypted = cases.find(({ name }) => name === 'e2e-payload-hash-differs') as IdCase
    const wireData = { body: { __kora_bytes__: 'AQID+g==' } }

    expect(checkOperationId({ ...legacy.operation, id: legacy.id, data: wireData })).toBe('verified')
    expect(checkOperationId({ ...legacy.operation, id: 'f'.repeat(64), data: wireData })).toBe('unverifiable')
    expect(checkOperationId({ ...encrypted.operation, id: encrypted.id })).toBe('unverifiable')
    expect(checkOperationId({ ...legacy.operation, data: { body: 'x' }, id: legacy.id })).toBe('mismatch')
  })
})

interface ClockStep {
  op: 'now' | 'receive' | 'advanceTo' | 'setReferenceOffset'
  physical?: number
  remote?: Timestamp
  to?: Timestamp
  offsetMs?: number
  result?: Timestamp
  errorCode?: string
}

interface ClockVectors {
  serialize: { timestamp: Timestamp; serialized: string }[]
  serializeErrors: { timestamp: Timestamp; errorCode: string }[]
  deserialize: { serialized: string; timestamp?: Timestamp; error?: true }[]
  compare: { a: Timestamp; b: Timestamp; sign: number }[]
  sequences: { name: string; nodeId: string; steps: ClockStep[] }[]
}

describe('hybrid logical clock', () => {
  const vectors = loadVectors<ClockVectors>('hlc')

  test.each(vectors.serialize)('serializes $serialized', ({ timestamp, serialized }) => {
    expect(serializeTimestamp(timestamp)).toBe(serialized)
    expect(parseTimestamp(serialized)).toEqual(timestamp)
  })

  test.each(vectors.serializeErrors)('refuses to serialize $timestamp', ({ timestamp, errorCode }) => {
    expect(() => serializeTimestamp(timestamp)).toThrow(expect.objectContaining({ code: errorCode }))
  })

  test.each(vectors.deserialize)('parses $serialized', ({ serialized, timestamp, error }) => {
    if (error) {
      expect(() => parseTimestamp(serialized)).toThrow()
    } else {
      expect(parseTimestamp(serialized)).toEqual(timestamp)
    }
  })

  test.each(vectors.compare)('compares $a with $b', ({ a, b, sign }) => {
    expect(compareTimestamps(a, b)).toBe(sign)
    expect(compareTimestamps(b, a) + sign).toBe(0)
  })

  test.each(vectors.sequences)('$name', ({ nodeId, steps }) => {
    let physicalMs = 0
    const clock = new DeviceClock(nodeId, () => physicalMs)
    for (const step of steps) {
      physicalMs = step.physical ?? physicalMs
      if (step.errorCode === undefined) {
        expect(runStep(clock, step)).toEqual(step.result)
      } else {
        expect(() => runStep(clock, step)).toThrow(expect.objectContaining({ code: step.errorCode }))
      }
    }
  })
})

function runStep(clock: DeviceClock, step: ClockStep): Timestamp | undefined {
  switch (step.op) {
    case 'now':
      return clock.now()
    case 'receive':
      return clock.receive(step.remote as Timestamp)
    case 'advanceTo':
      clock.advanceTo(step.to as Timestamp)
      return undefined
    case 'setReferenceOffset':
      clock.setReferenceOffset(step.offsetMs ?? 0)
      return undefined
  }
}

interface OrderingVectors {
  topologicalSort: {
    name: string
    input: Pick<Operation, 'id' | 'timestamp' | 'causalDeps'>[]
    output?: string[]
    errorCode?: string
  }[]
}

describe('causal order', () => {
  const { topologicalSort } = loadVectors<OrderingVectors>('ordering')

  test.each(topologicalSort)('$name', ({ input, output }) => {
    if (output === undefined) {
      expect(() => sortCausally(input)).toThrow(expect.objectContaining({ code: 'CAUSAL_CYCLE' }))
    } else {
      expect(sortCausally(input).map(({ id }) => id)).toEqual(output)
    }
  })
})
