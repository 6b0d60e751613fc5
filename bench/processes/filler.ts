import type { Operation } from '../../src/core/operation.ts'
import { TRUSTED_SOURCE } from '../../src/core/write-access.ts'
import { operationToWireJson } from '../../src/protocol/parse-operation.ts'
import { createSqliteServerStore } from '../../src/store/sqlite/sqlite-store.ts'
import { serve } from '../harness/child.ts'
import { OperationSource } from '../workload/operations.ts'
import { benchSchema } from '../workload/schema.ts'
import { BareStore } from './bare-store.ts'

export interface FillOptions {
  readonly variant: string
  readonly filename: string
  readonly operations: number
  /** These operations are spread evenly over the log, and belong to `user-rare`. */
  readonly rare: number
}

const BATCH = 1000

/** Makes a database that a server has filled before. */
async function fill({ variant, filename, operations, rare }: FillOptions): Promise<void> {
  const every = rare === 0 ? Number.POSITIVE_INFINITY : Math.floor(operations / rare)
  const source = new OperationSource()
  const batches = Array.from({ length: Math.ceil(operations / BATCH) }, (_, batch) =>
    Array.from({ length: Math.min(BATCH, operations - batch * BATCH) }, (_, index) => {
      const at = batch * BATCH + index + 1
      return source.insert(at % every === 0 && at / every <= rare ? 'user-rare' : `user-${at % 50}`)
    }),
  )
  if (variant === 'kora') await fillKora(filename, batches)
  else fillBare(filename, batches)
}

async function fillKora(filename: string, batches: readonly Operation[][]): Promise<void> {
  const store = createSqliteServerStore({ filename, durability: 'normal' })
  await store.setSchema(benchSchema)
  await store.trackScopeField('todos', 'userId', { isGranted: true })
  for (const batch of batches) {
    await store.append(
      batch.map((operation) => ({
        operation,
        wireJson: operationToWireJson(operation),
        access: TRUSTED_SOURCE,
      })),
    )
  }
  await store.close()
}

function fillBare(filename: string, batches: readonly Operation[][]): void {
  const store = new BareStore({ filename, durability: 'normal' })
  for (const batch of batches) {
    store.write(
      batch.map((operation) => ({ sequence: 0, operation, wireJson: operationToWireJson(operation) })),
    )
  }
  store.close()
}

serve({ fill })
