import type { Operation } from '../../src/core/operation.ts'
import type { CollectionDefinition } from '../../src/core/schema/types.ts'
import { buildCollection, buildField, buildOperation } from './core-builders.ts'

/** Its one field is merged with each update, and the merges are counted. */
export function countingCollection(): { collection: CollectionDefinition; merges: () => number } {
  let merges = 0
  const resolvers = { sum: () => ++merges }
  return {
    collection: buildCollection({ sum: buildField({ kind: 'number' }) }, { resolvers }),
    merges: () => merges,
  }
}

/** Of that field, by a clock: the insert at 0, else an update. */
export function mergedOperationAt(wallTime: number): Operation {
  return buildOperation({
    id: `id-${wallTime}`,
    type: wallTime === 0 ? 'insert' : 'update',
    data: { sum: wallTime },
    previousData: { sum: -1 },
    timestamp: { wallTime, logical: 0, nodeId: 'node' },
  })
}
