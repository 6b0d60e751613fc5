import { expect, test } from 'vitest'
import { type Loaded, runLoading } from '../../../src/store/append/load.ts'
import { type AppendContext, planAppend } from '../../../src/store/append/plan-append.ts'
import { RecordMap } from '../../../src/store/append/record-map.ts'
import { ServerClock } from '../../../src/store/append/server-clock.ts'
import { SERVER_NODE } from '../../support/each-store.ts'
import { OperationAuthor, requestOf } from '../../support/operation-author.ts'

const context: AppendContext = {
  serverNodeId: SERVER_NODE,
  isServerNode: (nodeId) => nodeId === SERVER_NODE,
  clock: new ServerClock(SERVER_NODE, { now: () => 1_760_000_000_000 }),
  schema: null,
  collection: () => null,
  trackedFields: () => [],
}

test('a stored operation that a disk has damaged is told by its id when it comes again', () => {
  const operation = new OperationAuthor('a').insert('r1', { title: 'x' })
  const loaded: Loaded = {
    operations: new Map([[operation.id, '{"id":']]),
    dropped: new Map(),
    records: new RecordMap(),
    histories: new RecordMap(),
    writeResults: new Map(),
    vector: new Map(),
    references: [],
    lookups: [],
  }

  const plan = () => runLoading(planAppend([requestOf(operation)], context), () => loaded)

  expect(plan).toThrow(
    expect.objectContaining({ code: 'STORE_CORRUPT', message: expect.stringContaining(operation.id) }),
  )
})
